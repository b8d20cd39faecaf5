// SPDX-License-Identifier: Apache-2.0

package events

import (
	"bytes"
	"encoding/binary"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/slicewatch/slicewatch/cgroupfs"
)

type told struct{ events []any }

func (s *told) OnBirth(b *Birth) { s.events = append(s.events, *b) }
func (s *told) OnDeath(d *Death) { s.events = append(s.events, *d) }
func (s *told) OnLate(l *Late)   { s.events = append(s.events, *l) }
func (s *told) OnKill(k *Kill)   { s.events = append(s.events, *k) }

func encode(t testing.TB, record any) []byte {
	t.Helper()
	b, err := binary.Append(nil, binary.NativeEndian, record)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

var booted = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func newDecoder() *decoder { return &decoder{pageBytes: 4096, bootedAt: booted} }

func TestDecode(t *testing.T) {
	birth := programBirth{Kind: kindBirth, TimeNs: 1e9, Id: 7, Parent: 3}
	copy(birth.Name[:], "pod1\x00rest of an older one")
	kill := programKill{
		Kind: kindKill, Flags: flagLimitKnown | flagGroup, TimeNs: 2e9, Incident: 99, LimitPages: 10, UsagePages: 9,
		AnonPages: 5, FilePages: 4, ShmemPages: 3, SwapPages: 2, Tgid: 41, TriggerTgid: 42, Adj: -997, Constraint: 3,
	}
	kill.Victim.Id, kill.Victim.Below = 8, [3]uint64{4, 7, 8}
	kill.Limit.Id, kill.Limit.Below = 7, [3]uint64{4, 7, 0}
	copy(kill.Comm[:], "java")
	copy(kill.TriggerComm[:], "sixteen bytes...")
	global := programKill{Kind: kindKill, Flags: flagLimitKnown | flagGlobal, Tgid: 1}
	late := programLate{Kind: kindLate, Parts: partGroupTime, TimeNs: 4e9, Id: 7, Cpu: programCpuTimes{GroupNs: 9000}}
	var lateCPU cgroupfs.Reading
	lateCPU.Set(cgroupfs.CPUUsage, 9)
	lateCPU.Set(cgroupfs.CPUUser, 9)
	lateCPU.Set(cgroupfs.CPUSystem, 0)
	var got told
	d := newDecoder()
	for _, record := range []any{birth, kill, global, late} {
		if err := d.decode(encode(t, record), &got); err != nil {
			t.Fatal(err)
		}
	}
	want := []any{
		Birth{Time: booted.Add(time.Second), ID: 7, ParentID: 3, Name: "pod1"},
		Kill{
			Time: booted.Add(2 * time.Second), Incident: 99, PID: 41, Command: "java",
			Victim: Place{ID: 8, Below: [3]uint64{4, 7, 8}}, LimitKnown: true, Limit: Place{ID: 7, Below: [3]uint64{4, 7, 0}},
			Constraint: ConstraintMemcg, LimitBytes: 40960, UsageBytes: 36864, Group: true,
			TriggerPID: 42, TriggerCommand: "sixteen bytes...",
			AnonBytes: 20480, FileBytes: 16384, ShmemBytes: 12288, SwapBytes: 8192, OOMScoreAdj: -997,
		},
		Kill{Time: booted, PID: 1, LimitKnown: true, Global: true},
		Late{Time: booted.Add(4 * time.Second), ID: 7, Final: lateCPU},
	}
	if diff := cmp.Diff(want, got.events, cmp.AllowUnexported(cgroupfs.Reading{})); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
}

func TestDecodeRefuses(t *testing.T) {
	whole := encode(t, programBirth{Kind: kindBirth})
	for name, test := range map[string]struct {
		record []byte
		want   string
	}{
		"nothing":      {nil, "too few"},
		"cut":          {whole[:len(whole)-8], "decode a birth: 152 bytes instead of 160"},
		"another kind": {encode(t, uint64(9)), "a record of an unknown kind: 9"},
	} {
		var got told
		err := newDecoder().decode(test.record, &got)
		if err == nil || !strings.Contains(err.Error(), test.want) || len(got.events) != 0 {
			t.Errorf("%s: error %v and events %v, want %q and none", name, err, got.events, test.want)
		}
	}
	if err := newDecoder().decode(encode(t, uint64(9)), &told{}); !errors.Is(err, errUnknownKind) {
		t.Errorf("error %v, want errUnknownKind", err)
	}
}

// TestFinal is the arithmetic of the control files.
func TestFinal(t *testing.T) {
	all := programDeath{
		Kind: kindDeath, Parts: partPending | partGroupTime | partBandwidth | partMemory,
		Cpu: programCpuTimes{
			UsageNs: 5_000_999, GroupNs: 4_000_000, UserNs: 30, SystemNs: 10,
			Periods: 9, ThrottledPeriods: 2, ThrottledNs: 3999, Bursts: 1, BurstNs: 2000, QuotaNs: 50_000_000, PeriodNs: 100_000_000,
		},
		PeakPages: 3, MaxPages: 4, OomGroup: 1,
		MemoryEvents: [6]uint64{1, 2, 3, 4, 5, 6}, LocalEvents: [6]uint64{7, 8, 9, 10, 11, 12}, SwapEvents: [3]uint64{13, 14, 15},
	}
	unlimited := programDeath{Parts: partBandwidth | partMemory, Cpu: programCpuTimes{QuotaNs: noQuota, PeriodNs: 100_000_000}, MaxPages: (1<<63 - 1) / 4096}
	for name, test := range map[string]struct {
		raw  programDeath
		want map[cgroupfs.Field]uint64
		not  []cgroupfs.Field
	}{
		"everything": {all, map[cgroupfs.Field]uint64{
			cgroupfs.CPUUsage: 5000, cgroupfs.CPUUser: 3750, cgroupfs.CPUSystem: 1250,
			cgroupfs.CPUPeriods: 9, cgroupfs.CPUThrottledPeriods: 2, cgroupfs.CPUThrottled: 3, cgroupfs.CPUBurstPeriods: 1, cgroupfs.CPUBurst: 2,
			cgroupfs.CPUQuota: 50_000, cgroupfs.CPUPeriod: 100_000,
			cgroupfs.MemoryPeak: 12288, cgroupfs.MemoryMax: 16384, cgroupfs.MemoryOOMGroup: 1,
			cgroupfs.MemoryEventLow: 1, cgroupfs.MemoryEventHigh: 2, cgroupfs.MemoryEventOOMGroupKill: 6,
			cgroupfs.MemoryLocalEventLow: 7, cgroupfs.MemoryLocalEventOOM: 10, cgroupfs.MemoryLocalEventOOMGroupKill: 12,
			cgroupfs.SwapEventHigh: 13, cgroupfs.SwapEventMax: 14, cgroupfs.SwapEventFail: 15,
		}, []cgroupfs.Field{cgroupfs.MemoryCurrent, cgroupfs.CPUPressureSome, cgroupfs.MemoryAnon, cgroupfs.IOReadBytes}},
		"no limits": {unlimited, map[cgroupfs.Field]uint64{
			cgroupfs.CPUQuota: cgroupfs.Unlimited, cgroupfs.CPUPeriod: 100_000, cgroupfs.MemoryMax: cgroupfs.Unlimited,
		}, []cgroupfs.Field{cgroupfs.CPUUsage, cgroupfs.CPUUser}},
		"no controllers": {programDeath{Parts: partPending, Cpu: programCpuTimes{UsageNs: 7000}}, map[cgroupfs.Field]uint64{
			cgroupfs.CPUUsage: 7, cgroupfs.CPUUser: 7, cgroupfs.CPUSystem: 0,
		}, []cgroupfs.Field{cgroupfs.CPUPeriods, cgroupfs.MemoryPeak, cgroupfs.MemoryEventOOM}},
		"what cgroups below it used": {programDeath{Parts: partPending | partGroupTime, Cpu: programCpuTimes{UsageNs: 1000, GroupNs: 9000}}, map[cgroupfs.Field]uint64{
			cgroupfs.CPUUsage: 9,
		}, nil},
	} {
		d := newDecoder()
		d.death = test.raw
		final := d.asDeath().Final
		for f, want := range test.want {
			if got, ok := final.Get(f); !ok || got != want {
				t.Errorf("%s: %v is %d (there: %v), want %d", name, f, got, ok, want)
			}
		}
		for _, f := range test.not {
			if got, ok := final.Get(f); ok {
				t.Errorf("%s: %v is %d, want it absent", name, f, got)
			}
		}
	}
}

func TestDivide(t *testing.T) {
	for name, test := range map[string]struct {
		usage        uint64
		raw          programCpuTimes
		user, system uint64
	}{
		"nothing sampled":          {100, programCpuTimes{}, 100, 0},
		"only user":                {100, programCpuTimes{UserNs: 5}, 100, 0},
		"only system":              {100, programCpuTimes{SystemNs: 5}, 0, 100},
		"in proportion":            {100, programCpuTimes{UserNs: 6, SystemNs: 2}, 75, 25},
		"system shown before":      {100, programCpuTimes{UserNs: 6, SystemNs: 2, ShownSystemNs: 40}, 60, 40},
		"user shown before":        {100, programCpuTimes{UserNs: 2, SystemNs: 6, ShownUserNs: 30}, 30, 70},
		"more shown than there is": {100, programCpuTimes{UserNs: 1, SystemNs: 1, ShownUserNs: 300, ShownSystemNs: 300}, 100, 0},
	} {
		user, system := divide(test.usage, &test.raw)
		if user != test.user || system != test.system {
			t.Errorf("%s: user %d, system %d; want %d, %d", name, user, system, test.user, test.system)
		}
	}
}

func FuzzDecode(f *testing.F) {
	for _, record := range []any{programBirth{Kind: kindBirth}, programDeath{Kind: kindDeath, Parts: 15}, programLate{Kind: kindLate, Parts: 7}, programKill{Kind: kindKill}} {
		f.Add(encode(f, record))
	}
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, record []byte) {
		var got told
		err := newDecoder().decode(bytes.Clone(record), &got)
		if (err == nil) != (len(got.events) == 1) {
			t.Errorf("error %v and %d events", err, len(got.events))
		}
	})
}
