// SPDX-License-Identifier: Apache-2.0

package dashboards

// agentCost is what the agent takes, and whether it works.
func agentCost() Dashboard {
	return Dashboard{
		UID: "slicewatch-agent", Title: "slicewatch / The agent itself",
		Description: "What the agents cost and whether they get all data.",
		Variables:   []Variable{dataSource(), nodeVariable()},
		Rows: []Row{
			{Title: "Cost", Panels: agentTakes()},
			{Title: "Sweeps and scrapes", Panels: agentSweeps()},
			{Title: "Health", Panels: agentHealth()},
		},
	}
}

// ofAgent selects the families that every Go program has. They have no name of
// ours, so they are taken where an agent's build is told.
func ofAgent(expr string) string {
	return "(" + expr + ") and on (node, instance) " + sel("slicewatch_build_info", onNode)
}

func agentTakes() []Panel {
	return []Panel{
		{
			Title: "CPU", Description: "Of the agent's process.", Kind: Lines, Unit: unitCores, Width: 6,
			Queries: []Query{{Expr: ofAgent("rate(" + sel("process_cpu_seconds_total", onNode) + "[$__rate_interval])"), Legend: "{{node}}"}},
		}, {
			Title: "Memory", Description: "Resident, and the Go heap in it.", Kind: Lines, Unit: unitBytes, Width: 6,
			Queries: []Query{
				{Expr: ofAgent(sel("process_resident_memory_bytes", onNode)), Legend: "{{node}} resident"},
				{Expr: ofAgent(sel("go_memstats_heap_inuse_bytes", onNode)), Legend: "{{node}} heap"},
			},
		}, {
			Title: "Series", Description: "Samples in one scrape: what the agent costs Prometheus.", Kind: Lines, Unit: unitPlain, Width: 6,
			Queries: []Query{{Expr: ofAgent(sel("scrape_samples_scraped", onNode)), Legend: "{{node}}"}},
		}, {
			Title: "Open files and watches", Description: "Control files kept open, of as many as are allowed, and directories watched.", Kind: Lines, Unit: unitPlain, Width: 6,
			Queries: []Query{
				{Expr: highest("node", sel("slicewatch_cgroup_files_open", onNode)), Legend: "{{node}} cgroup files"},
				{Expr: highest("node", sel("slicewatch_cgroup_files_limit", onNode)), Legend: "{{node}} allowed"},
				{Expr: highest("node", sel("slicewatch_inotify_watches", onNode)), Legend: "{{node}} watches"},
			},
		},
	}
}

func agentSweeps() []Panel {
	const sweep = "slicewatch_sweep_duration_seconds"
	return []Panel{
		{
			Title: "Length of a sweep", Description: "Reading all cgroups once, by what reads them.", Kind: Lines, Unit: unitSeconds, Width: 6,
			Queries: quantiles(sweep, "reader", onNode, "{{reader}}"),
		}, {
			Title: "Sweeps left out", Description: "A second, because the one before was not done: the node is too busy, or the sample interval too short.", Kind: Lines, Unit: unitPerSec, Width: 6,
			Queries: []Query{{Expr: rate("node", sel("slicewatch_sweeps_late_total", onNode)), Legend: "{{node}}"}},
		}, {
			Title: "Age of what is exported", Description: "At the time of the scrape: a second or two is right.", Kind: Lines, Unit: unitSeconds, Width: 6, Warn: 10, Bad: 60,
			Queries: []Query{{Expr: "timestamp(" + sel("slicewatch_snapshot_timestamp_seconds", onNode) + ") - " + sel("slicewatch_snapshot_timestamp_seconds", onNode), Legend: "{{node}}"}},
		}, {
			Title: "Length of a scrape", Description: "As Prometheus sees it.", Kind: Lines, Unit: unitSeconds, Width: 6,
			Queries: []Query{{Expr: ofAgent(sel("scrape_duration_seconds", onNode)), Legend: "{{node}}"}},
		},
	}
}

func agentHealth() []Panel {
	return []Panel{
		{
			Title: "Sources", Description: "1: the agent gets data from it. 0: it should and does not. What is switched off is not here.", Kind: Timeline, Width: 12,
			Queries: []Query{{Expr: "min by (node, source) (" + sel("slicewatch_source_up", onNode) + ")", Legend: "{{node}} {{source}}"}},
		}, {
			Title: "What went wrong", Description: "A second. Cgroups that vanish while they are read are normal.", Kind: Lines, Unit: unitPerSec, Width: 12,
			Queries: []Query{
				{Expr: rate("node, reason", sel("slicewatch_sweep_errors_total", onNode)), Legend: "{{node}} sweep: {{reason}}"},
				{Expr: rate("node, source", sel("slicewatch_events_lost_total", onNode)), Legend: "{{node}} events lost: {{source}}"},
				{Expr: rate("node", sel("slicewatch_scrapes_refused_total", onNode)), Legend: "{{node}} scrapes refused"},
				{Expr: rate("node", sel("slicewatch_state_write_errors_total", onNode)), Legend: "{{node}} state not written"},
			},
		}, {
			Title: "Cgroups", Description: "Living ones, by their place in the tree.", Kind: Lines, Unit: unitPlain, Width: 6,
			Queries: []Query{{Expr: highest("node, level", sel("slicewatch_cgroups", onNode)), Legend: "{{node}} {{level}}"}},
		}, {
			Title: "Without a name", Description: "Containers whose Kubernetes names are not known, and cgroups that are neither a pod's nor a container's.", Kind: Lines, Unit: unitPlain, Width: 6,
			Queries: []Query{
				{Expr: highest("node", sel("slicewatch_unidentified_containers", onNode)), Legend: "{{node}} unidentified"},
				{Expr: highest("node", sel("slicewatch_ignored_cgroups", onNode)), Legend: "{{node}} ignored"},
			},
		}, {
			Title: "Kept of what ended", Description: "Ended pods and containers that are still exported, and those dropped early to stay within the bound.", Kind: Lines, Unit: unitPlain, Width: 6,
			Queries: []Query{
				{Expr: highest("node", sel("slicewatch_retained_series", onNode)), Legend: "{{node}} kept"},
				{Expr: highest("node", sel("slicewatch_retained_series_dropped_total", onNode)), Legend: "{{node}} dropped early"},
			},
		}, {
			Title: "Builds", Description: "Which versions run where.", Kind: Table, Width: 6,
			Queries: []Query{{Ref: "one", Expr: "count by (node, version, goarch) (" + sel("slicewatch_build_info", onNode) + ")"}},
			Columns: []Column{{From: "node", Title: "Node"}, {From: "version", Title: "Version"}, {From: "goarch", Title: "Architecture"}, {From: "one", Title: "Agents"}},
			Order:   Sorting{Title: "Node"},
		},
	}
}
