// SPDX-License-Identifier: Apache-2.0

//go:build linux

package checks

import (
	"slices"
	"strings"
	"testing"
)

// wantedSources are all that the agent has.
var wantedSources = []string{
	"cgroup_files", "cgroup_iterator", "containerd", "kubernetes", "lifecycle", "oom", "periods", "procfs", "stall", "state", "throttle",
}

// TestSources checks that all of the agent works on the node: its kernel,
// Debian's 6.12 on arm64, and the agent's two capabilities allow every source.
func TestSources(t *testing.T) {
	_, _, agent := open(t)
	s, err := agent.Scrape(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var up, down []string
	for _, one := range s.Named("slicewatch_source_up") {
		if one.Value == 1 {
			up = append(up, one.Labels["source"])
		} else {
			down = append(down, one.Labels["source"])
		}
	}
	t.Logf("up: %s; down: %s", strings.Join(up, " "), strings.Join(down, " "))
	for _, name := range append(slices.Clone(up), down...) {
		if !slices.Contains(wantedSources, name) {
			t.Errorf("source %s is new: add it to those that are wanted", name)
		}
	}
	for _, name := range wantedSources {
		if !slices.Contains(up, name) {
			t.Errorf("source %s is not up (known: %v)", name, slices.Contains(down, name))
		}
	}
	if len(down) > 0 {
		t.Errorf("sources are down: %s; the agent's log says why", strings.Join(down, " "))
	}
}
