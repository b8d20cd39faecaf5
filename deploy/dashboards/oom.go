// SPDX-License-Identifier: Apache-2.0

package dashboards

// oom is who was killed, for which limit, and who may be next.
func oom() Dashboard {
	return Dashboard{
		UID: "slicewatch-oom", Title: "slicewatch / OOM kills",
		Description: "OOM kills by the limit that was hit, their victims, and who is near a kill. Most kills hit the pod's limit: it is the sum of its containers' limits.",
		Variables:   []Variable{dataSource(), nodeVariable(), namespaceVariable(), workloadVariable()},
		Rows: []Row{
			{Title: "Kills in the time shown", Panels: oomNumbers()},
			{Title: "Victims", Panels: oomVictims()},
			{Title: "Who is near", Panels: oomNear()},
		},
	}
}

func oomNumbers() []Panel {
	of := func(title, description, scope string) Panel {
		return Panel{
			Title: title, Description: description, Kind: Number, Width: 4, Height: 4, Warn: 1, Bad: 3,
			Queries: []Query{{Expr: "sum(" + counted("slicewatch_oom_kills_total", inNamespace+", "+scope) + ") or vector(0)"}},
		}
	}
	return []Panel{
		of("By the container's own limit", "The container grew to its limit.", `scope="container"`),
		of("By the pod's limit", "The pod as a whole grew to the sum of its containers' limits. In a pod with one container that is the same.", `scope="pod"`),
		of("By a class or all pods", "The bound of a QoS class or of all pods was hit: the node is overcommitted.", `scope=~"qos|kubepods"`),
		of("By the node", "The node ran out of memory; the kernel chose the victim by its score.", `scope="node"`),
		of("Unknown", "The agent saw the kill, but not the limit.", `scope="unknown"`),
		{
			Title: "Killed processes", Description: "With memory.oom.group, as the kubelet sets it, one kill ends all processes of the container.", Kind: Number, Width: 4, Height: 4,
			Queries: []Query{{Expr: "sum(" + counted("slicewatch_oom_killed_processes_total", inNamespace) + ") or vector(0)"}},
		},
	}
}

func oomVictims() []Panel {
	return []Panel{
		{
			Title: "Kills so far", Description: "Each step is a kill. Counters outlive the container by an hour.", Kind: Lines, Unit: unitPlain, Width: 12, Height: 9,
			Queries: []Query{{Expr: highest(byContainer+", scope", sel("slicewatch_oom_kills_total", inNamespace)) + " > 0", Legend: "{{namespace}}/{{pod}} {{container}}, limit of {{scope}}"}},
		}, {
			Title: "Victims in the time shown", Description: "Who was killed how often, and by whose limit.", Kind: Table, Width: 12, Height: 9,
			Queries: []Query{
				{Ref: "kills", Expr: counted("slicewatch_oom_kills_total", inNamespace) + " > 0"},
			},
			Columns: containerColumns(
				Column{From: "node", Title: "Node"}, Column{From: "qos", Title: "Class"}, Column{From: "scope", Title: "Limit of"},
				Column{From: "kills", Title: "Kills", Warn: 1, Bad: 3}),
			Order: Sorting{Title: "Kills", Descending: true},
		}, {
			Title: "The kernel's own counts of all pods of a node", Kind: Lines, Unit: unitPlain, Width: 12,
			Description: "memory.events of kubepods. oom_kill counts the victim of a group kill twice, so it is higher than the number of kills. What a userspace killer or an eviction ends is in neither.",
			Queries:     []Query{{Expr: highest("node, event", sel("slicewatch_kubepods_memory_events_total", onNode, `scope="hierarchical"`, `event=~"oom|oom_kill|oom_group_kill"`)), Legend: "{{node}} {{event}}"}},
		}, {
			Title: "Starts of containers", Description: "What was killed starts again, after a growing pause.", Kind: Lines, Unit: unitPlain, Width: 12,
			Queries: []Query{{Expr: joined(highest(byContainer, sel("slicewatch_container_starts_total", inNamespace)) + " > 1"), Legend: eachContainer}},
		},
	}
}

func oomNear() []Panel {
	fullest := "topk(20, " + joined(highest(byContainer, sel("slicewatch_container_memory_working_set_bytes", inNamespace))+" / "+
		highest(byContainer, sel("slicewatch_container_memory_limit_bytes", inNamespace))) + ")"
	actual := highest(byContainer+", qos", sel("slicewatch_container_oom_score_adj", inNamespace))
	expected := highest(byContainer+", qos", sel("slicewatch_container_oom_score_adj_expected", inNamespace))
	return []Panel{
		{
			Title: "Nearest to their own limits", Description: "Working set of the limit, with the time spent waiting for memory.", Kind: Table, Width: 12, Height: 9,
			Queries: []Query{
				{Ref: "used", Expr: fullest},
				{Ref: "pressure", Expr: among(joined(rate(byContainer, sel("slicewatch_container_memory_pressure_seconds_total", inNamespace, `kind="some"`))), fullest)},
			},
			Columns: containerColumns(
				Column{From: "workload", Title: "Workload"},
				Column{From: "used", Title: "Limit used", Unit: unitShare, Warn: 0.8, Bad: 0.9},
				Column{From: "pressure", Title: "Memory pressure", Unit: unitShare, Warn: 0.05, Bad: 0.1}),
			Order: Sorting{Title: "Limit used", Descending: true},
		}, {
			Title: "oom_score_adj that is not its class's", Kind: Table, Width: 12, Height: 9,
			Description: "Containers whose main process has another oom_score_adj than the kubelet's rule gives: empty is good.",
			Queries: []Query{
				{Ref: "actual", Expr: actual + " != " + expected},
				{Ref: "expected", Expr: expected + " != " + actual},
			},
			Columns: containerColumns(Column{From: "qos", Title: "Class"}, Column{From: "actual", Title: "Actual"}, Column{From: "expected", Title: "Expected"}),
			Order:   Sorting{Title: "Actual", Descending: true},
		},
	}
}
