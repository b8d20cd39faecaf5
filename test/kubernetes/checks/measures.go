// SPDX-License-Identifier: Apache-2.0

//go:build linux

package checks

import (
	"math"
	"strconv"
	"strings"
)

// Measures are values by the last part of a family's name and the labels that
// it has beyond its level's, as Key spells them.
type Measures map[string]float64

// Key spells a family's suffix and labels, which are names and values in turn
// in the order of the names: suffix{name=value,name=value}.
func Key(suffix string, labels ...string) string {
	if len(labels) == 0 {
		return suffix
	}
	pairs := make([]string, 0, len(labels)/2)
	for i := 0; i < len(labels); i += 2 {
		pairs = append(pairs, labels[i]+"="+labels[i+1])
	}
	return suffix + "{" + strings.Join(pairs, ",") + "}"
}

const micros = 1e6

// ContainerMeasures computes from a container's cgroup files what the agent is
// to export for it by default.
func ContainerMeasures(files map[string]string) Measures {
	m := PodMeasures(files)
	m.single("cpu_weight", files["cpu.weight"])
	m.single("memory_high_bytes", files["memory.high"])
	m.single("pids_limit", files["pids.max"])
	stat := flat(files["memory.stat"])
	for _, kind := range []string{"anon", "file", "shmem", "kernel"} {
		m.known(Key("memory_stat_bytes", "type", kind), stat, kind, 1)
	}
	m.known("memory_major_faults_total", stat, "pgmajfault", 1)
	if hasQuota(files) {
		cpu := flat(files["cpu.stat"])
		m.known("cpu_burst_periods_total", cpu, "nr_bursts", 1)
		m.known("cpu_burst_seconds_total", cpu, "burst_usec", micros)
		if burst, err := strconv.ParseFloat(strings.TrimSpace(files["cpu.max.burst"]), 64); err == nil {
			m["cpu_burst_limit_seconds"] = burst / micros
		}
	}
	if content, exists := files["io.stat"]; exists {
		read, write := transferred(content)
		m[Key("io_bytes_total", "operation", "read")] = read
		m[Key("io_bytes_total", "operation", "write")] = write
	}
	return m
}

// PodMeasures computes from a pod's cgroup files what the agent is to export
// for it by default, which containers have too.
func PodMeasures(files map[string]string) Measures {
	m := Measures{}
	cpu := flat(files["cpu.stat"])
	m.known(Key("cpu_usage_seconds_total", "mode", "user"), cpu, "user_usec", micros)
	m.known(Key("cpu_usage_seconds_total", "mode", "system"), cpu, "system_usec", micros)
	if hasQuota(files) {
		m.known("cpu_periods_total", cpu, "nr_periods", 1)
		m.known("cpu_throttled_periods_total", cpu, "nr_throttled", 1)
		m.known("cpu_throttled_seconds_total", cpu, "throttled_usec", micros)
		quota := strings.Fields(files["cpu.max"])
		m["cpu_limit_cores"] = parse(quota[0]) / parse(quota[1])
	}
	for _, resource := range []string{"cpu", "memory", "io"} {
		for kind, seconds := range stalled(files[resource+".pressure"]) {
			m[Key(resource+"_pressure_seconds_total", "kind", kind)] = seconds
		}
	}
	m.single("memory_usage_bytes", files["memory.current"])
	m.single("memory_limit_bytes", files["memory.max"])
	m.single("pids", files["pids.current"])
	if inactive, ok := flat(files["memory.stat"])["inactive_file"]; ok {
		m["memory_working_set_bytes"] = max(0, m["memory_usage_bytes"]-inactive)
	}
	for scope, names := range map[string][]string{
		"hierarchical": {"high", "max", "oom", "oom_kill", "oom_group_kill"},
		"local":        {"max", "oom", "oom_kill"},
	} {
		file := "memory.events"
		if scope == "local" {
			file += ".local"
		}
		for _, event := range names {
			m.known(Key("memory_events_total", "event", event, "scope", scope), flat(files[file]), event, 1)
		}
	}
	return m
}

// single adds the value of a file with one number; "max" is no number.
func (m Measures) single(key, content string) {
	if value, err := strconv.ParseFloat(strings.TrimSpace(content), 64); err == nil {
		m[key] = value
	}
}

// known adds values[name]/unit if there is one.
func (m Measures) known(key string, values map[string]float64, name string, unit float64) {
	if value, ok := values[name]; ok {
		m[key] = value / unit
	}
}

func hasQuota(files map[string]string) bool {
	fields := strings.Fields(files["cpu.max"])
	return len(fields) == 2 && fields[0] != "max"
}

// flat parses lines of a name and a number.
func flat(content string) map[string]float64 {
	values := map[string]float64{}
	for line := range strings.Lines(content) {
		if fields := strings.Fields(line); len(fields) == 2 {
			values[fields[0]] = parse(fields[1])
		}
	}
	return values
}

// stalled parses the totals of a pressure file, in seconds by kind.
func stalled(content string) map[string]float64 {
	values := map[string]float64{}
	for line := range strings.Lines(content) {
		fields := strings.Fields(line)
		for _, field := range fields {
			if total, ok := strings.CutPrefix(field, "total="); ok {
				values[fields[0]] = parse(total) / micros
			}
		}
	}
	return values
}

// transferred sums io.stat's bytes over devices.
func transferred(content string) (read, write float64) {
	for line := range strings.Lines(content) {
		for field := range strings.FieldsSeq(line) {
			name, value, ok := strings.Cut(field, "=")
			switch {
			case ok && name == "rbytes":
				read += parse(value)
			case ok && name == "wbytes":
				write += parse(value)
			}
		}
	}
	return read, write
}

// parse returns NaN for what is no number, which no comparison accepts.
func parse(text string) float64 {
	value, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return math.NaN()
	}
	return value
}
