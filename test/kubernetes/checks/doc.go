// SPDX-License-Identifier: Apache-2.0

//go:build linux

// Package checks compares what the agent on the test cluster exports with the
// two things it speaks of: the objects of the API server and the cgroup files
// of the node.
//
// It owns a second way to every value, written from the metric contract, and
// shares no code with the agent. Its tests need a running cluster with the
// agent and the workloads on it, and are skipped without one; `make e2e` runs
// them all.
package checks

// RequiredEnv names the environment variable that makes the tests fail where
// they would be skipped.
const RequiredEnv = "SLICEWATCH_E2E"
