// SPDX-License-Identifier: Apache-2.0

package exact

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/slicewatch/slicewatch/test/kubetree"
	"github.com/slicewatch/slicewatch/test/kubetree/truth"
)

// Series is what an exposition says: the value of each series, by its name and
// its labels in order.
type Series map[string]float64

// labelled spells a series as Parse does: labels without a value are left out,
// the others in order.
func labelled(name string, labels map[string]string) string {
	var pairs []string
	for k, v := range labels {
		if v != "" {
			pairs = append(pairs, fmt.Sprintf("%s=%q", k, v))
		}
	}
	slices.Sort(pairs)
	return name + "{" + strings.Join(pairs, ",") + "}"
}

// row says where the value of one series of every level comes from.
type row struct {
	suffix string
	labels string // "event=max,scope=local"
	file   string
	key    string
	div    float64 // 0: as it is
	// how the QoS classes and kubepods get it
	kind kind
}

type kind int

const (
	hierarchical kind = iota // a counter of the cgroup and all below it
	quota                    // a counter of the cgroup's own quota: summed over containers
	own                      // a counter of this one cgroup: Guaranteed has none
	use                      // a gauge of use: summed over Guaranteed pods
	limit                    // a gauge that may be "max": no series then
	burst                    // a gauge of the quota: only with one
)

func rows() []row {
	rows := []row{
		{"cpu_usage_seconds_total", "mode=user", "cpu.stat", "user_usec", 1e6, hierarchical},
		{"cpu_usage_seconds_total", "mode=system", "cpu.stat", "system_usec", 1e6, hierarchical},
		{"cpu_periods_total", "", "cpu.stat", "nr_periods", 0, quota},
		{"cpu_throttled_periods_total", "", "cpu.stat", "nr_throttled", 0, quota},
		{"cpu_throttled_seconds_total", "", "cpu.stat", "throttled_usec", 1e6, quota},
		{"cpu_burst_periods_total", "", "cpu.stat", "nr_bursts", 0, quota},
		{"cpu_burst_seconds_total", "", "cpu.stat", "burst_usec", 1e6, quota},
		{"cpu_burst_limit_seconds", "", "cpu.max.burst", "", 1e6, burst},
		{"cpu_weight", "", "cpu.weight", "", 0, use},
		{"memory_usage_bytes", "", "memory.current", "", 0, use},
		{"memory_limit_bytes", "", "memory.max", "", 0, limit},
		{"memory_high_bytes", "", "memory.high", "", 0, limit},
		{"memory_min_bytes", "", "memory.min", "", 0, limit},
		{"memory_low_bytes", "", "memory.low", "", 0, limit},
		{"memory_major_faults_total", "", "memory.stat", "pgmajfault", 0, hierarchical},
		{"memory_refaults_total", "type=anon", "memory.stat", "workingset_refault_anon", 0, hierarchical},
		{"memory_refaults_total", "type=file", "memory.stat", "workingset_refault_file", 0, hierarchical},
		{"pids", "", "pids.current", "", 0, use},
		{"pids_limit", "", "pids.max", "", 0, limit},
	}
	for _, r := range []string{"cpu", "memory", "io"} {
		for _, k := range []string{"some", "full"} {
			rows = append(rows, row{r + "_pressure_seconds_total", "kind=" + k, r + ".pressure", k + " total", 1e6, own})
		}
	}
	for _, t := range []string{"anon", "file", "shmem", "kernel", "slab_reclaimable", "inactive_file", "active_file", "file_dirty", "file_writeback", "sock"} {
		rows = append(rows, row{"memory_stat_bytes", "type=" + t, "memory.stat", t, 0, use})
	}
	for _, e := range []string{"low", "high", "max", "oom", "oom_kill", "oom_group_kill"} {
		rows = append(rows,
			row{"memory_events_total", "scope=hierarchical,event=" + e, "memory.events", e, 0, hierarchical},
			row{"memory_events_total", "scope=local,event=" + e, "memory.events.local", e, 0, own})
	}
	for operation, key := range map[string]string{"read": "r", "write": "w", "discard": "d"} {
		rows = append(rows,
			row{"io_bytes_total", "operation=" + operation, "io.stat", key + "bytes", 0, hierarchical},
			row{"io_operations_total", "operation=" + operation, "io.stat", key + "ios", 0, hierarchical})
	}
	return rows
}

// value returns what a cgroup's files say for a row; not ok if nothing.
func (r row) value(c truth.Cgroup) (n uint64, isMax, ok bool) {
	if r.file != "io.stat" {
		return c.Value(r.file, r.key)
	}
	stat, ok := c["io.stat"]
	for key := range stat {
		if strings.HasSuffix(key, " "+r.key) {
			v, _, _ := c.Value("io.stat", key)
			n += v
		}
	}
	return n, false, ok
}

func (r row) scaled(n uint64) float64 {
	if r.div == 0 {
		return float64(n)
	}
	return float64(n) / r.div
}

func (r row) add(to Series, level string, labels map[string]string, n uint64) {
	all := map[string]string{}
	maps.Copy(all, labels)
	for pair := range strings.SplitSeq(r.labels, ",") {
		if k, v, ok := strings.Cut(pair, "="); ok {
			all[k] = v
		}
	}
	to[labelled("slicewatch_"+level+"_"+r.suffix, all)] = r.scaled(n)
}

// limited says whether a cgroup has a CPU quota now, or was ever held to one.
func limited(c truth.Cgroup) bool {
	_, isMax, ok := c.Value("cpu.max", "quota")
	periods, _, _ := c.Value("cpu.stat", "nr_periods")
	return ok && !isMax || periods > 0
}

// expectCgroup adds what the files of one container, pod or slice give.
func expectCgroup(to Series, level string, labels map[string]string, c truth.Cgroup, slice bool) {
	for _, r := range rows() {
		n, isMax, ok := r.value(c)
		_, noQuota, hasQuota := c.Value("cpu.max", "quota")
		switch {
		case !ok || isMax:
		case r.kind == quota && (slice || !limited(c)):
		case r.kind == burst && (!hasQuota || noQuota):
		default:
			r.add(to, level, labels, n)
		}
	}
	current, _, ok := c.Value("memory.current", "")
	inactive, _, ok2 := c.Value("memory.stat", "inactive_file")
	if ok && ok2 {
		to[labelled("slicewatch_"+level+"_memory_working_set_bytes", labels)] = float64(current - min(current, inactive))
	}
	q, isMax, ok := c.Value("cpu.max", "quota")
	period, _, _ := c.Value("cpu.max", "period")
	if ok && !isMax {
		to[labelled("slicewatch_"+level+"_cpu_limit_cores", labels)] = float64(q) / float64(period)
	}
	expectSwap(to, level, labels, c)
}

// expectSwap adds swap where the node has some and the cgroup may swap or did.
func expectSwap(to Series, level string, labels map[string]string, c truth.Cgroup) {
	if !kubetree.HasSwap() {
		return
	}
	current, _, ok := c.Value("memory.swap.current", "")
	allowed, isMax, _ := c.Value("memory.swap.max", "")
	events := uint64(0)
	for _, e := range []string{"high", "max", "fail"} {
		n, _, _ := c.Value("memory.swap.events", e)
		events += n
	}
	may := isMax || allowed > 0
	if ok && (may || current > 0) {
		to[labelled("slicewatch_"+level+"_swap_usage_bytes", labels)] = float64(current)
	}
	for _, e := range []string{"high", "max", "fail"} {
		if n, _, ok := c.Value("memory.swap.events", e); ok && (may || n > 0) {
			to[labelled("slicewatch_"+level+"_swap_events_total", with(labels, "event", e))] = float64(n)
		}
	}
}

func with(labels map[string]string, k, v string) map[string]string {
	all := map[string]string{k: v}
	maps.Copy(all, labels)
	return all
}

// node is a tree with what each of its cgroups is.
type node struct {
	kubepods   truth.Cgroup
	slices     map[string]truth.Cgroup // by class; none for guaranteed
	pods       []cgroup
	containers []cgroup
}

type cgroup struct {
	labels map[string]string
	truth  truth.Cgroup
	path   string
}

// expect returns every series of cgroups that the agent should export.
func (n node) expect() Series {
	to := Series{}
	for _, c := range n.containers {
		expectCgroup(to, "container", c.labels, c.truth, false)
	}
	for _, p := range n.pods {
		expectCgroup(to, "pod", p.labels, p.truth, false)
	}
	expectCgroup(to, "kubepods", nil, n.kubepods, true)
	n.expectQuota(to, "kubepods", nil, "")
	for _, class := range []string{"guaranteed", "burstable", "besteffort"} {
		labels := map[string]string{"qos": class}
		if slice, ok := n.slices[class]; ok {
			expectCgroup(to, "qos", labels, slice, true)
		} else {
			n.expectGuaranteed(to, labels)
		}
		n.expectQuota(to, "qos", labels, class)
	}
	return to
}

// expectQuota adds the sums over the containers of a class, of all if it is
// empty, that have a quota.
func (n node) expectQuota(to Series, level string, labels map[string]string, class string) {
	for _, r := range rows() {
		if r.kind != quota {
			continue
		}
		sum, any := uint64(0), false
		for _, c := range n.containers {
			if (class == "" || c.labels["qos"] == class) && limited(c.truth) {
				v, _, _ := r.value(c.truth)
				sum, any = sum+v, true
			}
		}
		if any {
			r.add(to, level, labels, sum)
		}
	}
}

// expectGuaranteed adds the class without a slice.
func (n node) expectGuaranteed(to Series, labels map[string]string) {
	for _, r := range rows() {
		switch r.kind {
		case hierarchical:
			v, _, ok := r.value(n.kubepods)
			for _, slice := range n.slices {
				part, _, _ := r.value(slice)
				v -= min(v, part)
			}
			if ok {
				r.add(to, "qos", labels, v)
			}
		case use, limit, burst:
			if sum, ok := n.sumGuaranteed(r); ok {
				r.add(to, "qos", labels, sum)
			}
		}
	}
	usage, inactive := row{file: "memory.current"}, row{file: "memory.stat", key: "inactive_file"}
	a, _ := n.sumGuaranteed(usage)
	b, _ := n.sumGuaranteed(inactive)
	to[labelled("slicewatch_qos_memory_working_set_bytes", labels)] = float64(a - min(a, b))
	if micros, ok := n.sumGuaranteed(row{file: "cpu.max", key: "quota"}); ok {
		to[labelled("slicewatch_qos_cpu_limit_cores", labels)] = float64(micros) / 100_000
	}
	if swap, ok := n.sumGuaranteed(row{file: "memory.swap.max"}); kubetree.HasSwap() && (!ok || swap > 0) {
		current, _ := n.sumGuaranteed(row{file: "memory.swap.current"})
		to[labelled("slicewatch_qos_swap_usage_bytes", labels)] = float64(current)
		for _, e := range []string{"high", "max", "fail"} {
			r := row{suffix: "swap_events_total", labels: "event=" + e, file: "memory.swap.events", key: e}
			v, _, _ := r.value(n.kubepods)
			for _, slice := range n.slices {
				part, _, _ := r.value(slice)
				v -= part
			}
			r.add(to, "qos", labels, v)
		}
	}
}

// sumGuaranteed sums a gauge over the Guaranteed pods; not ok if one of them
// has no limit, or none has such a file.
func (n node) sumGuaranteed(r row) (sum uint64, ok bool) {
	ok = true
	any := false
	for _, p := range n.pods {
		if p.labels["qos"] != "guaranteed" {
			continue
		}
		v, isMax, has := r.value(p.truth)
		sum, any = sum+v, any || has
		ok = ok && !isMax
	}
	return sum, ok && any
}
