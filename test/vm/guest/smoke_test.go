// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"os"
	"strings"
	"testing"

	"github.com/slicewatch/slicewatch/test/vm/wire"
)

func requireMachine(t *testing.T) {
	t.Helper()
	if os.Getenv(wire.MarkerEnv) == "" {
		t.Skip("runs only in a test machine: go run ./test/vm/cmd/vmtest ./test/vm/guest")
	}
}

func TestControllersAreEnabled(t *testing.T) {
	requireMachine(t)
	text, err := os.ReadFile(cgroupRoot + "/cgroup.subtree_control")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"cpu", "cpuset", "io", "memory", "pids"} {
		if !strings.Contains(" "+strings.TrimSpace(string(text))+" ", " "+want+" ") {
			t.Errorf("controller %s is not enabled: have %s", want, text)
		}
	}
}
