// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"flag"
	"os/exec"
	"strconv"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/slicewatch/slicewatch/cgroupfs/fixturetree"
)

var update = flag.Bool("update", false, "write expected outputs anew")

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"slicewatch": main})
}

// TestScripts runs the real main in a process of its own for each line of the
// scripts. $CGROUPS and $PROC are a recorded node's cgroup root and proc.
func TestScripts(t *testing.T) {
	cgroups, proc := fixturetree.Write(t, fixturetree.SystemdSteady)
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata",
		UpdateScripts:       *update,
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			env.Setenv("CGROUPS", cgroups)
			env.Setenv("PROC", proc)
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"exits": exits},
	})
}

// exits is "exits 2 slicewatch ...": like exec, for a certain exit status.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits status program [args...]")
	}
	err := ts.Exec(args[1], args[2:]...)
	status := 0
	if exit := new(exec.ExitError); errors.As(err, &exit) {
		status = exit.ExitCode()
	} else if err != nil {
		ts.Fatalf("%v", err)
	}
	if strconv.Itoa(status) != args[0] {
		ts.Fatalf("exit status is %d, want %s", status, args[0])
	}
}
