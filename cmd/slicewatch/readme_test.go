// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/slicewatch/slicewatch/agent"
	"github.com/slicewatch/slicewatch/agent/config"
	"github.com/slicewatch/slicewatch/agent/doctor"
	"github.com/slicewatch/slicewatch/bpf"
	"github.com/slicewatch/slicewatch/cgroupfs/fixturetree"
)

// TestReadmeShowsTheDoctor holds that the README's sample has every check and
// every eBPF program in the order and the form of the output, and their sum.
// What is found is another on each node.
func TestReadmeShowsTheDoctor(t *testing.T) {
	readme, err := os.ReadFile(filepath.Join("..", "..", "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(readme), "\n$ slicewatch doctor\n")
	sample, _, found := strings.Cut(rest, "```")
	if !found {
		t.Fatal("README.md has no sample of slicewatch doctor")
	}
	var shown []doctor.Result
	var names []string
	for _, line := range regexp.MustCompile(`(?m)^([a-z-]+) +([a-z]+) +(.+)$`).FindAllStringSubmatch(sample, -1) {
		shown = append(shown, doctor.Result{Check: line[1], Status: doctor.Status(line[2]), Found: line[3]})
		names = append(names, line[1])
	}
	var table bytes.Buffer
	if err := doctor.WriteTable(&table, shown, false); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(table.String(), sample); diff != "" {
		t.Errorf("the sample's form (-want +README.md):\n%s", diff)
	}
	if diff := cmp.Diff(doctorChecks(t), names); diff != "" {
		t.Errorf("the sample's checks (-want +README.md):\n%s", diff)
	}
}

// doctorChecks returns the names of all checks, with no program loaded.
func doctorChecks(t *testing.T) []string {
	t.Helper()
	cgroups, proc := fixturetree.Write(t, fixturetree.SystemdSteady)
	system, err := doctor.ThisSystem()
	if err != nil {
		t.Fatal(err)
	}
	settings := config.Default()
	settings.BPF = string(bpf.Off)
	var names []string
	for _, result := range doctor.Examine(doctor.Node{
		CgroupFS: cgroups, ProcFS: proc, SysFS: "/sys", State: t.TempDir(), Programs: agent.Programs(settings), System: system,
	}) {
		names = append(names, result.Check)
	}
	return names
}
