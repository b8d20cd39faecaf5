// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"log/slog"
	"reflect"
	"testing"
	"time"

	"github.com/slicewatch/slicewatch/agent/oom"
	"github.com/slicewatch/slicewatch/agent/snapshot"
	"github.com/slicewatch/slicewatch/bpf/events"
	"github.com/slicewatch/slicewatch/cgroupfs"
)

// Every field of an event that an account has a place for must get there.
func TestKernelKillsAreHandedOverWhole(t *testing.T) {
	theirs, ours := reflect.TypeFor[events.Kill](), reflect.TypeFor[oom.Kill]()
	for field := range theirs.Fields() {
		name := field.Name
		if _, ok := ours.FieldByName(name); !ok && name != "Constraint" {
			t.Errorf("an account of OOM kills does not know the event's %s", name)
		}
	}
	keeper := oom.New(oom.Config{Logger: slog.New(slog.DiscardHandler)})
	keeper.SetEvents(true)
	pod := &cgroupfs.Cgroup{ID: 4, Level: cgroupfs.LevelPod, Path: "/kubepods/pod1"}
	c := &cgroupfs.Cgroup{ID: 5, Level: cgroupfs.LevelContainer, Path: "/kubepods/pod1/c", Parent: pod}
	now := time.Unix(1_800_000_000, 0).UTC()
	sweep := func() {
		for _, at := range []*cgroupfs.Cgroup{pod, c} {
			keeper.Observe(at, &cgroupfs.Reading{}, now)
		}
		keeper.Identify(c, &snapshot.ContainerIdentity{Namespace: "shop", Pod: "web-0", Name: "app", Known: true})
		keeper.Finish(now)
	}
	sweep()
	killSink{keeper}.Killed(&events.Kill{
		Time: now, Incident: 1, PID: 2, Command: "node", Victim: events.Place{ID: 5}, LimitKnown: true, Limit: events.Place{ID: 4},
		LimitBytes: 64, UsageBytes: 63, TriggerPID: 3, TriggerCommand: "java", AnonBytes: 10, FileBytes: 20, ShmemBytes: 30, SwapBytes: 40,
		OOMScoreAdj: -5, Group: true,
	})
	sweep()
	sweep()
	var snap snapshot.Snapshot
	keeper.Fill(&snap)
	if len(snap.OOMRecords) != 1 {
		t.Fatalf("%d records, want one", len(snap.OOMRecords))
	}
	got := *snap.OOMRecords[0]
	got.Message = ""
	want := snapshot.OOMRecord{
		ID: 1, Time: now, Namespace: "shop", Pod: "web-0", Container: "app", QoS: "guaranteed", CgroupID: 5, Scope: snapshot.ScopePod,
		Limit:   &snapshot.OOMLimit{CgroupID: 4, Path: "/kubepods/pod1", Bytes: snapshot.Amount{N: 64, Known: true}, UsageBytes: snapshot.Amount{N: 63, Known: true}},
		Trigger: &snapshot.OOMTask{PID: 3, Command: "java"}, Processes: 1, Group: true, Source: snapshot.OOMFromKernel,
		Victims: []snapshot.OOMVictim{{PID: 2, Command: "node", AnonBytes: 10, FileBytes: 20, ShmemBytes: 30, SwapBytes: 40, OOMScoreAdj: -5}},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("the record is\n%+v, want\n%+v", got, want)
	}
}
