// SPDX-License-Identifier: Apache-2.0

package dashboards

// rightSizing is what requests and limits should be, what that saves, and who
// dies first when memory runs out.
func rightSizing() Dashboard {
	return Dashboard{
		UID: "slicewatch-rightsizing", Title: "slicewatch / Right-sizing",
		Description: "Hints against requests and use; what following them saves; who dies first.",
		Variables:   []Variable{dataSource(), nodeVariable(), namespaceVariable(), workloadVariable()},
		Rows: []Row{
			{Title: "Savings", Panels: savings()},
			{Title: "Workloads", Panels: workloadSizes()},
			{Title: "Hints of containers", Panels: hintDetails()},
			{Title: "Who dies first", Panels: whoDiesFirst()},
		},
	}
}

// requested and hinted are by container, with the labels of its workload.
func requested(resource string) string {
	return joined(highest(byContainer, sel("slicewatch_container_"+resource, inNamespace)))
}

func hinted(resource string) string {
	return highest(byContainer+", workload_kind, workload", sel("slicewatch_hint_"+resource, inNamespace, `workload=~"$workload"`))
}

// saved is what hints leave of requests; without a request nothing is reserved.
func saved(by, resource string) string {
	hint := hinted(resource)
	return sum(by, "("+requested(resource)+" or "+hint+" * 0) - "+hint)
}

func savings() []Panel {
	total := func(title, resource, unit, what string) Panel {
		return Panel{
			Title: title, Description: what + " that following the hints would free; below 0 what it would take.", Kind: Number, Unit: unit, Width: 4, Height: 8,
			Queries: []Query{{Expr: "sum(" + saved("node", resource) + ")"}},
		}
	}
	return []Panel{
		total("CPU to be saved", "cpu_request_cores", unitCores, "CPU requests"),
		total("Memory to be saved", "memory_request_bytes", unitBytes, "Memory requests"),
		{
			Title: "Savings by namespace", Description: "Requests less hints. Below 0 a namespace lives on what others leave.", Kind: Table, Height: 8,
			Queries: []Query{
				{Ref: "cpu", Expr: saved("namespace", "cpu_request_cores")},
				{Ref: "memory", Expr: saved("namespace", "memory_request_bytes")},
			},
			Columns: []Column{
				{From: "namespace", Title: "Namespace"},
				{From: "cpu", Title: "CPU", Unit: unitCores}, {From: "memory", Title: "Memory", Unit: unitBytes},
			},
			Order: Sorting{Title: "CPU", Descending: true},
		},
		{
			Title: "Requests, hints and use", Description: "CPU of all chosen workloads together.", Kind: Lines, Unit: unitCores, Height: 8,
			Queries: []Query{
				{Expr: "sum(" + requested("cpu_request_cores") + ")", Legend: "requested"},
				{Expr: "sum(" + hinted("cpu_request_cores") + ")", Legend: "hinted"},
				{Expr: "sum(" + joined(rate(byContainer, sel("slicewatch_container_cpu_usage_seconds_total", inNamespace))) + ")", Legend: "used"},
			},
		},
	}
}

func workloadSizes() []Panel {
	columns := func(unit string) []Column {
		return []Column{
			{From: "namespace", Title: "Namespace"}, {From: "workload_kind", Title: "Kind"}, {From: "workload", Title: "Workload"}, {From: "container", Title: "Container"},
			{From: "used", Title: "Used", Unit: unit}, {From: "requested", Title: "Requested", Unit: unit}, {From: "hinted", Title: "Hint", Unit: unit}, {From: "saved", Title: "To be saved", Unit: unit},
		}
	}
	queries := func(resource, use string) []Query {
		return []Query{
			{Ref: "used", Expr: sum(byWorkload, joined(use))},
			{Ref: "requested", Expr: sum(byWorkload, requested(resource))},
			{Ref: "hinted", Expr: sum(byWorkload, hinted(resource))},
			{Ref: "saved", Expr: saved(byWorkload, resource)},
		}
	}
	return []Panel{
		{
			Title: "CPU: hint against request and use", Description: "Over all pods of a workload. Use is the average of the moment; the hint knows bursts and throttling.", Kind: Table, Width: 12, Height: 10,
			Queries: queries("cpu_request_cores", rate(byContainer, sel("slicewatch_container_cpu_usage_seconds_total", inNamespace))),
			Columns: columns(unitCores), Order: Sorting{Title: "To be saved", Descending: true},
		}, {
			Title: "Memory: hint against request and use", Description: "Over all pods of a workload.", Kind: Table, Width: 12, Height: 10,
			Queries: queries("memory_request_bytes", highest(byContainer, sel("slicewatch_container_memory_working_set_bytes", inNamespace))),
			Columns: columns(unitBytes), Order: Sorting{Title: "To be saved", Descending: true},
		},
	}
}

func hintDetails() []Panel {
	withWorkload := byContainer + ", workload_kind, workload"
	hint := func(name string) string {
		return highest(withWorkload, sel("slicewatch_hint_"+name, inNamespace, `workload=~"$workload"`))
	}
	return []Panel{
		{
			Title: "Hints", Kind: Table, Width: 16, Height: 10,
			Description: "What each container should have. An empty limit means: set none. The burst allowance is seconds per period.",
			Queries: []Query{
				{Ref: "cpurequest", Expr: hint("cpu_request_cores")}, {Ref: "cpulimit", Expr: hint("cpu_limit_cores")}, {Ref: "burst", Expr: hint("cpu_burst_seconds")},
				{Ref: "memoryrequest", Expr: hint("memory_request_bytes")}, {Ref: "memorylimit", Expr: hint("memory_limit_bytes")},
				{Ref: "confidence", Expr: hint("confidence_ratio")},
			},
			Columns: containerColumns(
				Column{From: "cpurequest", Title: "CPU request", Unit: unitCores}, Column{From: "cpulimit", Title: "CPU limit", Unit: unitCores}, Column{From: "burst", Title: "Burst", Unit: unitSeconds},
				Column{From: "memoryrequest", Title: "Memory request", Unit: unitBytes}, Column{From: "memorylimit", Title: "Memory limit", Unit: unitBytes},
				Column{From: "confidence", Title: "Confidence", Unit: unitShare}),
			Order: Sorting{Title: "CPU request", Descending: true},
		}, {
			Title: "Reasons", Description: "Why hints are what they are, and for how many containers.", Kind: Table, Height: 10,
			Queries: []Query{{Ref: "count", Expr: "count by (resource, reason) (" + highest(withWorkload+", resource, reason", sel("slicewatch_hint_reason", inNamespace, `workload=~"$workload"`)) + ")"}},
			Columns: []Column{{From: "resource", Title: "Resource"}, {From: "reason", Title: "Reason"}, {From: "count", Title: "Containers"}},
			Order:   Sorting{Title: "Containers", Descending: true},
		},
	}
}

func whoDiesFirst() []Panel {
	of := func(family string) string { return highest(byContainer+", qos", sel(family, inNamespace)) }
	first := of("slicewatch_container_oom_rank") + " <= 20"
	return []Panel{
		{
			Title: "Who dies first when the node is full", Kind: Table, Width: 24, Height: 10,
			Description: "The kernel's order if the node ran out of memory now. Rank 1 goes first. A node's own limits are not considered.",
			Queries: []Query{
				{Ref: "rank", Expr: joined(first)},
				{Ref: "score", Expr: joined(among(of("slicewatch_container_oom_score"), first))},
				{Ref: "adj", Expr: joined(among(of("slicewatch_container_oom_score_adj"), first))},
				{Ref: "used", Expr: joined(among(of("slicewatch_container_memory_working_set_bytes"), first))},
			},
			Columns: append([]Column{{From: "node", Title: "Node"}, {From: "rank", Title: "Rank"}},
				containerColumns(Column{From: "workload", Title: "Workload"}, Column{From: "qos", Title: "Class"},
					Column{From: "score", Title: "Badness"}, Column{From: "adj", Title: "oom_score_adj"}, Column{From: "used", Title: "Working set", Unit: unitBytes})...),
			Order: Sorting{Title: "Rank"},
		},
	}
}
