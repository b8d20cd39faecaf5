// SPDX-License-Identifier: Apache-2.0

// Package prometheus has a test that lets a real Prometheus scrape the real
// agent in a virtual machine and holds what queries give against the cgroup
// files. It owns the order of things and what the queries should give, worked
// out from the files alone. It must not know how the agent reads or exports:
// it has no code of it. Package tree is what runs in the machine besides.
//
//	SLICEWATCH_VM_TESTS=1 go test -count=1 -timeout 20m ./test/prometheus
package prometheus
