// SPDX-License-Identifier: Apache-2.0

//go:build linux

package checks

import (
	"fmt"
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
		case !between(value, first, last):
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

// between allows for the last digit of a floating point number.
func between(value, a, b float64) bool {
	low, high := min(a, b), max(a, b)
	slack := 1e-9 * max(1, math.Abs(high))
	return value >= low-slack && value <= high+slack
}
