// SPDX-License-Identifier: Apache-2.0

// Package work holds the workloads that run inside made-up containers: each is
// a process that does one thing to its cgroup, by a known amount. It owns what
// such a process does once it runs. It must not know cgroup paths, pods or who
// started it: a workload sees only its arguments.
//
// A workload runs by executing the program that wants it once more, with
// "work" as the first argument. So every program that makes containers,
// test binaries included, calls Main first thing:
//
//	if code, ok := work.Main(os.Args[1:], os.Stderr); ok {
//		os.Exit(code)
//	}
package work
