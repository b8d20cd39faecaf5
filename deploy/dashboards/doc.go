// SPDX-License-Identifier: Apache-2.0

// Package dashboards owns Grafana dashboards on slicewatch's metrics: which
// panels there are, what they ask for, and how that is written as Grafana's
// JSON and as ConfigMaps for its sidecar. Everything is asked from the
// families of /metrics alone, without recording rules and without
// kube-state-metrics. It must not know a data source or draw anything; test/prometheus
// asks the queries, and Grafana draws them.
package dashboards
