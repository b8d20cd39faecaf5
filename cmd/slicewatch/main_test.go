// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"flag"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os/exec"
	"strconv"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/slicewatch/slicewatch/agent/checkpoint"
	"github.com/slicewatch/slicewatch/agent/sampling/lives"
	"github.com/slicewatch/slicewatch/agent/snapshot"
	"github.com/slicewatch/slicewatch/cgroupfs"
	"github.com/slicewatch/slicewatch/cgroupfs/fixturetree"
)

var update = flag.Bool("update", false, "write expected outputs anew")

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"slicewatch": main})
}

// TestScripts runs the real main in a process of its own for each line of the
// scripts. $CGROUPS and $PROC are a recorded node's cgroup root and proc,
// $PORT is free for the script.
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
			port, err := freePort()
			env.Setenv("PORT", port)
			return err
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits": exits, "fetch": fetch, "leave-oom": leaveOOM, "spoil-oom": spoilOOM, "leave-life": leaveLife,
		},
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

func freePort() (string, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	_, port, err := net.SplitHostPort(listener.Addr().String())
	return port, errors.Join(err, listener.Close())
}

// fetch is "fetch URL": it asks until the answer is 200 and makes its body the
// standard output of the script's last command.
func fetch(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: fetch URL")
	}
	client := http.Client{Timeout: time.Second}
	// Generous, as it only ends a hang: what is tested is the answer.
	giveUp := time.Now().Add(time.Minute)
	for ; time.Now().Before(giveUp); time.Sleep(20 * time.Millisecond) {
		response, err := client.Get(args[0])
		if err != nil {
			continue
		}
		body, err := io.ReadAll(response.Body)
		response.Body.Close()
		if err == nil && response.StatusCode == http.StatusOK {
			_, err := ts.Stdout().Write(body)
			ts.Check(err)
			return
		}
	}
	ts.Fatalf("no answer from %s within a minute", args[0])
}

// leaveOOM is "leave-oom DIRECTORY": it makes a state directory as an agent
// leaves it that saw an OOM kill.
func leaveOOM(ts *testscript.TestScript, neg bool, args []string) {
	writeRecords(ts, neg, args, `{"version":1,"records":[{"id":1,"time":"2026-01-02T03:04:05Z","namespace":"shop","pod":"web-0","container":"server",
		"qos":"burstable","scope":"pod","message":"the pod was full","limit":{"bytes":67108864},"processes":1,
		"victims":[{"pid":12,"command":"node","anonBytes":1}],"source":"kernel"}]}`)
}

// spoilOOM is "spoil-oom DIRECTORY": it leaves records of a version to come.
func spoilOOM(ts *testscript.TestScript, neg bool, args []string) {
	writeRecords(ts, neg, args, `{"version":99}`)
}

// leaveLife is "leave-life DIRECTORY": it makes a state directory as an agent
// leaves it that saw a container end a minute ago.
func leaveLife(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: leave-life DIRECTORY")
	}
	book, ended := lives.New("another boot"), time.Now().Add(-time.Minute)
	book.Add(snapshot.Life{
		Namespace: "shop", Pod: "web-0", Container: "server", QoS: cgroupfs.Burstable, ContainerID: "948e47cc", CgroupID: 7,
		Started: ended.Add(-1200 * time.Millisecond), Ended: ended, End: snapshot.LifeOOMKilled, CPUMicros: snapshot.Amount{N: 41_000, Known: true},
		MemoryPeakBytes: snapshot.Amount{N: 64 << 20, Known: true}, MemoryLimitBytes: snapshot.Amount{N: 64 << 20, Known: true},
	}, ended)
	journal, _, err := checkpoint.OpenJournal(args[0], "lives", slog.New(slog.DiscardHandler))
	ts.Check(err)
	ts.Check(journal.Write(book.AppendState))
	ts.Check(journal.Close())
}

func writeRecords(ts *testscript.TestScript, neg bool, args []string, records string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: leave-oom DIRECTORY")
	}
	journal, _, err := checkpoint.OpenJournal(args[0], "oom-records", slog.New(slog.DiscardHandler))
	ts.Check(err)
	ts.Check(journal.Write(func(buf []byte) []byte { return append(buf, records...) }))
	ts.Check(journal.Close())
}
