// SPDX-License-Identifier: Apache-2.0

//go:build linux

package checks

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
)

// Exported collects the values of one subject's measures: the series whose
// names start with prefix and whose labels include all of level, which are
// left out of the keys.
func Exported(s Scrape, prefix string, level map[string]string) Measures {
	m := Measures{}
	for _, one := range s.All {
		suffix, ok := strings.CutPrefix(one.Name, prefix)
		if !ok || !has(one.Labels, level) {
			continue
		}
		var extra []string
		for name := range one.Labels {
			if _, known := level[name]; !known {
				extra = append(extra, name)
			}
		}
		slices.Sort(extra)
		labels := make([]string, 0, 2*len(extra))
		for _, name := range extra {
			labels = append(labels, name, one.Labels[name])
		}
		m[Key(suffix, labels...)] = one.Value
	}
	return m
}

func has(labels, wanted map[string]string) bool {
	for name, value := range wanted {
		if labels[name] != value {
			return false
		}
	}
	return true
}

// Compare says where exported is not between before and after, which were read
// before and after it: absent, too much, or out of their range. ignored tells
// which exported keys come from elsewhere.
func Compare(before, after, exported Measures, ignored func(key string) bool) []string {
	before, after, exported = withBothModes(before), withBothModes(after), withBothModes(exported)
	var differences []string
	for key, first := range before {
		last, stayed := after[key]
		value, found := exported[key]
		switch {
		case !stayed && !found:
		case !found:
			differences = append(differences, fmt.Sprintf("%s is absent, the file has %v", key, first))
		case !stayed:
			// It went away in between; its value may be either.
		case !near(key, value, first, last):
			differences = append(differences, fmt.Sprintf("%s is %v, the file had %v and then %v", key, value, first, last))
		}
	}
	for key, value := range exported {
		_, first := before[key]
		_, last := after[key]
		if !first && !last && !ignored(key) {
			differences = append(differences, fmt.Sprintf("%s is %v, the files have no such thing", key, value))
		}
	}
	slices.Sort(differences)
	return differences
}

// modeKeys are the parts of a cgroup's CPU time in each exposition: in user
// mode, in system mode.
var modeKeys = [][2]string{
	{Key("cpu_usage_seconds_total", "mode", "user"), Key("cpu_usage_seconds_total", "mode", "system")},
	{"cpu_user_seconds_total", "cpu_system_seconds_total"},
}

// bothModes is the sum of such parts.
const bothModes = "CPU time in both modes"

// withBothModes adds the sum of the parts of CPU time. It is the scheduler's
// own, and held exactly.
func withBothModes(m Measures) Measures {
	for _, parts := range modeKeys {
		user, found := m[parts[0]]
		system, both := m[parts[1]]
		if found && both {
			m = maps.Clone(m)
			m[bothModes] = user + system
		}
	}
	return m
}

// near is between with what each key allows. A cgroup's time is split into
// modes by the ticks that fell into each, and what was told before is never
// taken back (kernel/sched/cputime.c, cputime_adjust): two who read at different
// times, as the agent and the helper on the node, differ by some ticks, and in
// a cgroup that had few of them by a good part of its time.
func near(key string, value, a, b float64) bool {
	const ticks, rounding = 0.1, 3e-6
	slack := 0.0
	switch {
	case key == bothModes:
		slack = rounding
	case slices.ContainsFunc(modeKeys, func(parts [2]string) bool { return key == parts[0] || key == parts[1] }):
		slack = max(ticks, max(a, b)/10)
	}
	return between(value, min(a, b)-slack, max(a, b)+slack)
}

// between allows for the last digit of a floating point number.
func between(value, a, b float64) bool {
	low, high := min(a, b), max(a, b)
	slack := 1e-9 * max(1, math.Abs(high))
	return value >= low-slack && value <= high+slack
}
