// SPDX-License-Identifier: Apache-2.0

package exporter

import (
	"bufio"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/slicewatch/slicewatch/agent/snapshot"
)

// referenceProse is what the tables cannot say.
const referenceProse = `# Metrics

<!-- Made from the table of metric families in the exporter package. Do not edit: run
go test ./exporter -run TestReference -update -->

Two expositions of the same cgroups: ` + "`/metrics`" + ` under slicewatch's own names, and
` + "`/metrics/cadvisor`" + ` under the names that dashboards for cAdvisor query. Scrape one of them, or
each as a job of its own.

## Rules

- Units are base units: seconds, bytes, cores (seconds of CPU per second).
- What does not exist is an absent series, never 0 and never -1. Without a CPU quota there are no
  ` + "`cpu_periods`, `cpu_throttled_*` and `cpu_burst_*`" + ` series; without a memory limit no
  ` + "`memory_limit_bytes`" + `. Counters of a quota that was taken away stay.
- There is one series per namespace, pod and container, however often the container restarts: its
  counters go on from where the dead container stopped, so that ` + "`rate()` and `increase()`" + ` lose nothing.
  ` + "`slicewatch_container_starts_total`" + ` counts the starts.
- When a pod or container ends, its gauges go at once. Its counters,
  ` + "`slicewatch_container_info`, `_start_time_seconds` and `_starts_total`" + ` and the peaks of the trailing
  minute stay for the retention time (` + "`--retention`" + `, 5 minutes by default), so that the last scrape before the end
  is not the last word.
- A container whose Kubernetes names are not known yet has an empty namespace, the pod's UID as pod and the
  first 12 digits of its id as container. It is renamed when the names arrive.
- The pod's sandbox (the pause container) is part of ` + "`slicewatch_pod_*`" + ` and has no series of its own.
- The guaranteed class has no cgroup of its own. Its counters are those of all pods less the two other
  classes, its gauges are sums over its pods, and its pressure is absent.
- CFS families of QoS classes and of all pods are sums over containers. A pod can have a quota of its own:
  its throttling is in ` + "`slicewatch_pod_*`" + ` and must not be added to its containers'.
- Label values are valid UTF-8 of at most 1024 bytes; longer ones are cut.

## Default and detail

By default at most 50 series are exported per container and 24 per pod, histograms aside. The rest,
marked *detail*, comes with ` + "`--metrics.detail=all`" + `, or by family with ` + "`--metrics.include`" + `.
` + "`--metrics.exclude`" + ` takes families away on both paths, ` + "`--metrics.namespaces-exclude`" + ` pods and their containers. All three
are regular expressions that must match the whole name.

`

// cadvisorProse stands above the table of /metrics/cadvisor.
const cadvisorProse = `## /metrics/cadvisor

Every cgroup from kubepods down has its series here, as under the kubelet: ` + "`id`" + ` is the path below the cgroup
root, slices have only ` + "`id`" + `, a pod's own cgroup has an empty ` + "`container`" + `, and so has the sandbox, which has ` + "`name` and `image`" + `.
What differs from the kubelet's endpoint:

- Samples have no timestamps of their own, so that a series goes stale as soon as its cgroup is gone. The values are at
  most one sample interval old; cAdvisor's are up to 15 s.
- Counters start at 0 with each new container id, as cAdvisor's do, and end with it. Those of ` + "`/metrics`" + ` go on.
- ` + "`container_memory_failcnt`" + ` counts how often the cgroup's own limit was hit. cAdvisor always says 0 on cgroup v2.
- ` + "`container_oom_events_total`" + ` comes from the kernel's own count, which sees every kill.
- Bytes read and written are summed over devices, without a ` + "`device`" + ` label.

`

// oomProse stands above the table of OOM kills.
const oomProse = `These count what the kernel's OOM killer did, not what a userspace killer or a kubelet eviction did. The labels are those of the
victim's container. Series are kept for an hour after the container ended, and go on over restarts of container and agent.

Most kills of pods are ` + "`scope=\"pod\"`" + `: the pod's limit is the sum of its containers' limits, and the pause process and the kernel's own memory
for the pod count as well, so that it is reached just before a container's own is. Raising the container's limit raises the pod's with it.

` + "`slicewatch_container_memory_events_total{event=\"oom_kill\"}`" + ` is the kernel's own count, which is higher: where the kubelet makes the kernel kill the
whole container (` + "`memory.oom.group`" + `, the default), it counts the first victim twice.

Without eBPF the scope is told by which level's ` + "`memory.events.local`" + ` counted the OOM. Where several did at once, or the cgroup was gone before it
was read, it is ` + "`unknown`" + `. The container is empty where only the pod could be told. Each kill is told in full by ` + "`slicewatch ooms`" + ` and
` + "`/api/v1/ooms`" + `.

`

const hintProse = `What requests and limits should be. [hints.md](hints.md) says how each amount is computed. A reason is one of
` + "`%s`" + `.

`

func reasonCodes() []string {
	var codes []string
	for _, code := range snapshot.ReasonCodes() {
		codes = append(codes, string(code))
	}
	return codes
}

// WriteReference writes the reference of every metric family as Markdown.
func WriteReference(w io.Writer) error {
	b := bufio.NewWriter(w)
	own := slices.Concat(snapshotFamilies(), registryFamilies())
	b.WriteString(referenceProse)
	for _, section := range []struct {
		title  string
		levels []level
	}{
		{"Containers", []level{levelContainer}},
		{"OOM kills", []level{levelOOM}},
		{"Hints", []level{levelHint}},
		{"Pods", []level{levelPod}},
		{"QoS classes", []level{levelQoS}},
		{"All pods of the node", []level{levelKubepods}},
		{"The node and the agent", []level{levelNode, levelSource, levelRegistry}},
	} {
		fmt.Fprintf(b, "## %s\n\n", section.title)
		if section.levels[0] == levelOOM {
			b.WriteString(oomProse)
		}
		if section.levels[0] == levelHint {
			fmt.Fprintf(b, hintProse, strings.Join(reasonCodes(), "`, `"))
		}
		writeTable(b, own, section.levels)
	}
	b.WriteString("The agent's own process and Go runtime are in `process_*` and `go_*`.\n\n")
	b.WriteString(cadvisorProse)
	writeTable(b, cadvisorFamilies(), []level{levelCgroup, levelMachine})
	if err := b.Flush(); err != nil {
		return fmt.Errorf("write the metric reference: %w", err)
	}
	return nil
}

func writeTable(b *bufio.Writer, families []family, levels []level) {
	common := levels[0].labels()
	if len(common) > 0 {
		fmt.Fprintf(b, "Every series has the labels `%s`.\n\n", strings.Join(common, "`, `"))
	}
	b.WriteString("| Family | Type | Unit | Labels | Exported | Meaning | Source |\n| --- | --- | --- | --- | --- | --- | --- |\n")
	for i := range families {
		f := &families[i]
		if slices.Contains(levels, f.level) {
			fmt.Fprintf(b, "| `%s` | %s | %s | %s | %s | %s | %s |\n",
				f.name, strings.ToLower(f.kind.String()), f.unit, f.labelsInWords(), f.exported(), f.help, f.sources())
		}
	}
	b.WriteString("\n")
}

// labelsInWords lists the labels that the family has beyond its level's, with
// their values where these are a closed list.
func (f *family) labelsInWords() string {
	names := f.labels
	if f.level == levelSource {
		names = f.level.labels()
	}
	words := make([]string, len(names))
	for i, name := range names {
		words[i] = "`" + name + "`"
		var values []string
		for j := range f.series {
			if i < len(f.series[j].values) && !slices.Contains(values, f.series[j].values[i]) {
				values = append(values, f.series[j].values[i])
			}
		}
		if len(values) > 0 {
			words[i] += " = " + strings.Join(values, ", ")
		}
	}
	return strings.Join(words, "; ")
}

// exported says which of the family's series are exported by default.
func (f *family) exported() string {
	var detail []string
	for i := range f.series {
		if f.series[i].detail {
			detail = append(detail, strings.Join(f.series[i].values, " "))
		}
	}
	switch len(detail) {
	case 0:
		return "default"
	case len(f.series):
		return "detail"
	}
	return "default; detail: " + strings.Join(detail, ", ")
}
