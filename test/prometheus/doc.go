// SPDX-License-Identifier: Apache-2.0

// Package prometheus has tests that let a real Prometheus scrape the real
// agent in a virtual machine. TestQueries holds what queries give against the
// cgroup files; TestMonitoring wants data from each query of the dashboards
// and each rule in deploy, from VictoriaMetrics too. It owns the order of
// things and what the queries should give, worked out from the files alone. It
// must not know how the agent reads or exports: it has no code of it. Commands
// tree and cluster are what runs in the machines besides.
//
//	SLICEWATCH_VM_TESTS=1 go test -count=1 -timeout 20m ./test/prometheus
package prometheus
