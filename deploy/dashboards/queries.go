// SPDX-License-Identifier: Apache-2.0

package dashboards

import (
	"fmt"
	"strings"
)

// The units of panels, as Grafana names them.
const (
	unitBytes   = "bytes"
	unitSeconds = "s"
	unitShare   = "percentunit"
	unitCores   = "suffix: cores"
	unitPerSec  = "cps"
	unitPlain   = "none"
)

// What panels of a dashboard select by.
const (
	onNode      = `node=~"$node"`
	inNamespace = onNode + `, namespace=~"$namespace"`
	ofContainer = inNamespace + `, pod=~"$pod", container=~"$container"`
	ofPod       = inNamespace + `, pod=~"$pod"`
)

// What series of containers are added by. The instance is left out: it changes
// with the agent's pod.
const (
	byContainer = "node, namespace, pod, container"
	byWorkload  = "namespace, workload_kind, workload, container"
)

func dataSource() Variable { return Variable{Name: "datasource", Label: "Data source"} }

func nodeVariable() Variable {
	return Variable{Name: "node", Label: "Node", Query: "label_values(slicewatch_build_info, node)", Several: true, All: true}
}

func namespaceVariable() Variable {
	return Variable{
		Name: "namespace", Label: "Namespace", Several: true, All: true,
		Query: "label_values(slicewatch_container_info{" + onNode + "}, namespace)",
	}
}

func workloadVariable() Variable {
	return Variable{
		Name: "workload", Label: "Workload", Several: true, All: true,
		Query: "label_values(slicewatch_container_info{" + inNamespace + "}, workload)",
	}
}

// sel is a family with what it is selected by, and further matchers.
func sel(family, by string, more ...string) string {
	return family + "{" + strings.Join(append([]string{by}, more...), ", ") + "}"
}

// rate is what counters grow by in a second, added up.
func rate(by, selector string) string {
	return fmt.Sprintf("sum by (%s) (rate(%s[$__rate_interval]))", by, selector)
}

// sum and highest drop the labels that change with the agent's pod.
func sum(by, expr string) string { return fmt.Sprintf("sum by (%s) (%s)", by, expr) }

func highest(by, selector string) string { return fmt.Sprintf("max by (%s) (%s)", by, selector) }

// joined gives an expression by container the labels of its workload, and drops
// what is not of the chosen workloads.
func joined(expr string) string {
	return fmt.Sprintf(`(%s) * on (%s) group_left (workload_kind, workload) group by (%s, workload_kind, workload) (slicewatch_container_info{%s, workload=~"$workload"})`,
		expr, byContainer, byContainer, inNamespace)
}

// throttledShare is the slowdown by a quota: throttled / (usage + throttled).
// level is container, pod, qos or kubepods.
func throttledShare(level, by, selector string) string {
	usage := rate(by, sel("slicewatch_"+level+"_cpu_usage_seconds_total", selector))
	throttled := rate(by, sel("slicewatch_"+level+"_cpu_throttled_seconds_total", selector))
	return fmt.Sprintf("%s / (%s + %s > 0)", throttled, usage, throttled)
}

// buckets are the increases of a histogram that may be stored as a classic or
// as a native one; where it is both, the classic one counts.
func buckets(function, family, by, selector string) string {
	labels := "le"
	native := "sum"
	on := "on ()"
	if by != "" {
		labels, native, on = "le, "+by, "sum by ("+by+")", "on ("+by+")"
	}
	classic := fmt.Sprintf("sum by (%s) (%s(%s[$__rate_interval]))", labels, function, sel(family+"_bucket", selector))
	return fmt.Sprintf("%s or (%s (%s(%s[$__rate_interval])) unless %s %s)",
		classic, native, function, sel(family, selector), on, classic)
}

func quantile(q float64, family, by, selector string) string {
	return fmt.Sprintf("histogram_quantile(%g, %s)", q, buckets("rate", family, by, selector))
}

// quantiles are three queries for how a histogram's observations spread.
func quantiles(family, by, selector, legend string) []Query {
	var all []Query
	for _, q := range []struct {
		at   float64
		name string
	}{{0.5, "half"}, {0.9, "9 of 10"}, {0.99, "99 of 100"}} {
		all = append(all, Query{Expr: quantile(q.at, family, by, selector), Legend: q.name + " below " + legend})
	}
	return all
}

// counted is how much a counter of OOM kills grew in the time shown: a whole
// number, and with the kill that a series began with, which increase() does
// not see.
func counted(family, selector string) string {
	const by = "node, namespace, pod, container, qos, scope"
	atEnd := fmt.Sprintf("max by (%s) (max_over_time(%s[$__range]))", by, sel(family, selector))
	before := fmt.Sprintf("max by (%s) (last_over_time(%s[1h] offset $__range))", by, sel(family, selector))
	return fmt.Sprintf("clamp_min(%s - (%s or %s * 0), 0)", atEnd, before, atEnd)
}

// among leaves those containers of an expression that another one has.
func among(expr, others string) string {
	return fmt.Sprintf("%s and on (%s) (%s)", expr, byContainer, others)
}
