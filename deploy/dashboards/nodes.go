// SPDX-License-Identifier: Apache-2.0

package dashboards

// nodes is where to begin: what nodes have, what classes take, who is in
// trouble.
func nodes() Dashboard {
	return Dashboard{
		UID: "slicewatch-nodes", Title: "slicewatch / Nodes and QoS classes",
		Description: "What nodes have and what their pods take, by QoS class, and the containers in most trouble.",
		Variables:   []Variable{dataSource(), nodeVariable()},
		Rows: []Row{
			{Title: "At a glance", Panels: nodeNumbers()},
			{Title: "CPU", Panels: nodeCPU()},
			{Title: "Memory", Panels: nodeMemory()},
			{Title: "Pressure", Panels: nodePressure()},
			{Title: "Who is in trouble", Panels: nodeTrouble()},
		},
	}
}

func nodeNumbers() []Panel {
	number := func(p Panel) Panel {
		p.Kind, p.Width, p.Height = Number, 4, 4
		return p
	}
	return []Panel{
		number(Panel{
			Title: "Nodes", Description: "Nodes whose agent answers.",
			Queries: []Query{{Expr: "count(" + sum("node", sel("slicewatch_build_info", onNode)) + ")"}},
		}),
		number(Panel{
			Title: "Containers", Description: "Living containers; pods' sandboxes are not counted.",
			Queries: []Query{{Expr: "count(" + highest(byContainer, sel("slicewatch_container_memory_usage_bytes", onNode)) + ")"}},
		}),
		number(Panel{
			Title: "CPU used by pods", Description: "Of all CPUs of the nodes.", Unit: unitShare, Warn: 0.8, Bad: 0.95,
			Queries: []Query{{Expr: "sum(rate(" + sel("slicewatch_kubepods_cpu_usage_seconds_total", onNode) + "[$__rate_interval])) / sum(" + highest("node", sel("slicewatch_node_cpu_cores", onNode)) + ")"}},
		}),
		number(Panel{
			Title: "Memory used by pods", Description: "Working set of all pods, of all memory of the nodes.", Unit: unitShare, Warn: 0.8, Bad: 0.9,
			Queries: []Query{{Expr: "sum(" + highest("node", sel("slicewatch_kubepods_memory_working_set_bytes", onNode)) + ") / sum(" + highest("node", sel("slicewatch_node_memory_bytes", onNode)) + ")"}},
		}),
		number(Panel{
			Title: "Throttled share", Description: "Share of their running time that all containers lose to CPU limits: throttled / (usage + throttled).",
			Unit: unitShare, Warn: 0.05, Bad: 0.15,
			Queries: []Query{{Expr: "sum(rate(" + sel("slicewatch_kubepods_cpu_throttled_seconds_total", onNode) + "[$__rate_interval])) / (sum(rate(" +
				sel("slicewatch_kubepods_cpu_usage_seconds_total", onNode) + "[$__rate_interval])) + sum(rate(" + sel("slicewatch_kubepods_cpu_throttled_seconds_total", onNode) + "[$__rate_interval])))"}},
		}),
		number(Panel{
			Title: "OOM kills", Description: "In the time shown, of containers that the agents know.", Warn: 1, Bad: 3,
			Queries: []Query{{Expr: "sum(" + counted("slicewatch_oom_kills_total", onNode) + ")"}},
		}),
	}
}

func nodeCPU() []Panel {
	return []Panel{
		{
			Title: "CPU use by class", Description: "CPU time per second of each QoS class, over the chosen nodes.", Kind: Lines, Unit: unitCores, Stacked: true,
			Queries: []Query{{Expr: rate("qos", sel("slicewatch_qos_cpu_usage_seconds_total", onNode)), Legend: "{{qos}}"}},
		}, {
			Title: "Use, requests and CPUs of a node", Description: "Requests near the CPUs keep new pods away; use near the CPUs makes pods wait.", Kind: Lines, Unit: unitCores,
			Queries: []Query{
				{Expr: rate("node", sel("slicewatch_kubepods_cpu_usage_seconds_total", onNode)), Legend: "{{node}} used"},
				{Expr: sum("node", highest(byContainer, sel("slicewatch_container_cpu_request_cores", onNode))), Legend: "{{node}} requested"},
				{Expr: highest("node", sel("slicewatch_node_cpu_cores", onNode)), Legend: "{{node}} CPUs"},
			},
		}, {
			Title: "Throttled share by class", Description: "Share of their running time that containers of the class lose to their CPU limits.", Kind: Lines, Unit: unitShare, Warn: 0.05, Bad: 0.15,
			Queries: []Query{{Expr: throttledShare("qos", "qos", onNode), Legend: "{{qos}}"}},
		},
	}
}

func nodeMemory() []Panel {
	return []Panel{
		{
			Title: "Working set by class", Description: "Memory that cannot simply be dropped, over the chosen nodes.", Kind: Lines, Unit: unitBytes, Stacked: true,
			Queries: []Query{{Expr: sum("qos", highest("node, qos", sel("slicewatch_qos_memory_working_set_bytes", onNode))), Legend: "{{qos}}"}},
		}, {
			Title: "Use, requests and memory of a node", Description: "The bound is that of all pods together, which the kubelet sets where it enforces allocatable.", Kind: Lines, Unit: unitBytes,
			Queries: []Query{
				{Expr: highest("node", sel("slicewatch_kubepods_memory_working_set_bytes", onNode)), Legend: "{{node}} used"},
				{Expr: sum("node", highest(byContainer, sel("slicewatch_container_memory_request_bytes", onNode))), Legend: "{{node}} requested"},
				{Expr: highest("node", sel("slicewatch_kubepods_memory_limit_bytes", onNode)), Legend: "{{node}} bound of all pods"},
				{Expr: highest("node", sel("slicewatch_node_memory_bytes", onNode)), Legend: "{{node}} memory"},
			},
		}, {
			Title: "Headroom of nodes", Description: "What new pods may still request: the bound of all pods, or the node, less all requests.", Kind: Table,
			Queries: []Query{
				{Ref: "cpu", Expr: "(" + highest("node", sel("slicewatch_kubepods_cpu_limit_cores", onNode)) + " or " + highest("node", sel("slicewatch_node_cpu_cores", onNode)) + ") - " +
					sum("node", highest(byContainer, sel("slicewatch_container_cpu_request_cores", onNode)))},
				{Ref: "memory", Expr: "(" + highest("node", sel("slicewatch_kubepods_memory_limit_bytes", onNode)) + " or " + highest("node", sel("slicewatch_node_memory_bytes", onNode)) + ") - " +
					sum("node", highest(byContainer, sel("slicewatch_container_memory_request_bytes", onNode)))},
			},
			Columns: []Column{{From: "node", Title: "Node"}, {From: "cpu", Title: "CPU headroom", Unit: unitCores}, {From: "memory", Title: "Memory headroom", Unit: unitBytes}},
			Order:   Sorting{Title: "CPU headroom"},
		},
	}
}

func nodePressure() []Panel {
	return []Panel{
		{
			Title: "Pressure of nodes", Description: "Share of time in which some task of the node waited (PSI). Throttling is in the CPU's.", Kind: Lines, Unit: unitShare, Max: 1, Warn: 0.25, Bad: 0.5,
			Queries: []Query{{Expr: rate("node, resource", sel("slicewatch_node_pressure_seconds_total", onNode, `kind="some"`)), Legend: "{{node}} {{resource}}"}},
		}, {
			Title: "CPU pressure by class", Description: "Share of time in which some task of the class waited for a CPU, its own limits included. The guaranteed class has no cgroup of its own.",
			Kind: Lines, Unit: unitShare, Max: 1,
			Queries: []Query{{Expr: rate("node, qos", sel("slicewatch_qos_cpu_pressure_seconds_total", onNode, `kind="some"`)), Legend: "{{node}} {{qos}}"}},
		}, {
			Title: "Memory pressure by class", Description: "Share of time in which some task of the class waited for memory.", Kind: Lines, Unit: unitShare, Max: 1,
			Queries: []Query{{Expr: rate("node, qos", sel("slicewatch_qos_memory_pressure_seconds_total", onNode, `kind="some"`)), Legend: "{{node}} {{qos}}"}},
		},
	}
}

// toContainer links a row of a table that has pod and container to that
// container's page.
const toContainer = "/d/slicewatch-container?var-datasource=${datasource}&var-node=$__all&var-workload=$__all" +
	"&var-namespace=${__data.fields.Namespace}&var-pod=${__data.fields.Pod}&var-container=${__data.fields.Container}"

func containerColumns(more ...Column) []Column {
	return append([]Column{
		{From: "namespace", Title: "Namespace"}, {From: "pod", Title: "Pod"}, {From: "container", Title: "Container", Link: toContainer},
	}, more...)
}

func nodeTrouble() []Panel {
	slowest := "topk(15, " + throttledShare("container", byContainer, onNode) + " > 0)"
	limit := highest(byContainer, sel("slicewatch_container_memory_limit_bytes", onNode))
	fullest := "topk(15, " + highest(byContainer, sel("slicewatch_container_memory_working_set_bytes", onNode)) + " / " + limit + ")"
	return []Panel{
		{
			Title: "Most slowed down by their CPU limits", Kind: Table,
			Description: "Throttled share, next to the share of throttled periods: the latter alone does not tell harm.",
			Queries: []Query{
				{Ref: "share", Expr: slowest},
				{Ref: "periods", Expr: among(rate(byContainer, sel("slicewatch_container_cpu_throttled_periods_total", onNode))+" / ("+rate(byContainer, sel("slicewatch_container_cpu_periods_total", onNode))+" > 0)", slowest)},
				{Ref: "limit", Expr: among(highest(byContainer, sel("slicewatch_container_cpu_limit_cores", onNode)), slowest)},
			},
			Columns: containerColumns(
				Column{From: "share", Title: "Throttled share", Unit: unitShare, Warn: 0.05, Bad: 0.1},
				Column{From: "periods", Title: "Throttled periods", Unit: unitShare},
				Column{From: "limit", Title: "CPU limit", Unit: unitCores}),
			Order: Sorting{Title: "Throttled share", Descending: true}, Width: 12, Height: 9,
		}, {
			Title: "Nearest to their memory limits", Kind: Table,
			Description: "Working set of the limit, and the share of time spent waiting for memory: without waiting a full limit harms nobody.",
			Queries: []Query{
				{Ref: "used", Expr: fullest},
				{Ref: "pressure", Expr: among(rate(byContainer, sel("slicewatch_container_memory_pressure_seconds_total", onNode, `kind="some"`)), fullest)},
				{Ref: "limit", Expr: among(limit, fullest)},
			},
			Columns: containerColumns(
				Column{From: "used", Title: "Limit used", Unit: unitShare, Warn: 0.8, Bad: 0.9},
				Column{From: "pressure", Title: "Memory pressure", Unit: unitShare, Warn: 0.05, Bad: 0.1},
				Column{From: "limit", Title: "Memory limit", Unit: unitBytes}),
			Order: Sorting{Title: "Limit used", Descending: true}, Width: 12, Height: 9,
		},
	}
}
