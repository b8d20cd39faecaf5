// SPDX-License-Identifier: Apache-2.0

package backtest

import (
	"math"
	"testing"
	"time"
)

// near says that a is b or up to a bucket above it: VPA's histograms answer with
// the end of a bucket, whose width is 5 % of its start and the first one's width.
func near(a, b float64) bool { return a >= b && a <= 1.15*b }

func TestVPAOfCPU(t *testing.T) {
	v := VPA().CPU()
	if _, ok := v.Advise(began, 0); ok {
		t.Error("it says something without a sample")
	}
	for i := range 3000 {
		v.Observe(began.Add(time.Duration(i)*5*time.Minute), float64(i%100)/100)
	}
	at := began.Add(3000 * 5 * time.Minute)
	advice, ok := v.Advise(at, 0)
	if !ok || !near(advice.Value, 0.9*1.15) || !advice.Urgent {
		t.Fatalf("%+v, %v, want about 1.035", advice, ok)
	}
	// Within the bounds p50 and p95 (and their margins), and a young pod: kept.
	if kept, _ := v.Advise(at, 0.8); kept.Value != 0.8 || kept.Urgent {
		t.Errorf("0.8 becomes %+v", kept)
	}
	// Below p50 + 15 %: at once.
	if raised, _ := v.Advise(at, 0.4); raised != advice {
		t.Errorf("0.4 becomes %+v", raised)
	}
	// After twelve hours, for a tenth.
	if _, ok := v.Advise(at, 0.9); !ok {
		t.Fatal("it says nothing")
	}
	if due, _ := v.Advise(at.Add(12*time.Hour), 0.9); !near(due.Value, 1.035) {
		t.Errorf("0.9 becomes %+v after twelve hours", due)
	}
}

func TestVPAOfMemory(t *testing.T) {
	v := VPA().Memory()
	for day := range 8 {
		for hour := range 24 {
			v.Observe(began.Add(time.Duration(24*day+hour)*time.Hour), float64(100+hour)*mebibyte)
		}
	}
	at := began.Add(8 * 24 * time.Hour)
	advice, ok := v.Advise(at, 0)
	if !ok || !near(advice.Value, 123*1.15*mebibyte) {
		t.Fatalf("%v Mi, want the days' peak of 123 Mi and 15 %%", advice.Value/mebibyte)
	}
	v.OOMKilled(at, 141*mebibyte)
	after, _ := v.Advise(at, advice.Value)
	if !near(after.Value, 241*1.15*mebibyte) || !after.Urgent {
		t.Errorf("%v Mi after an OOM kill at 141 Mi, want 241 Mi and 15 %%", after.Value/mebibyte)
	}
}

func TestPercentile(t *testing.T) {
	cpu := Percentile().CPU()
	for i := range 2000 {
		cpu.Observe(began.Add(time.Duration(i)*time.Hour), float64(i))
	}
	// Of the last 14 days, 337 values with both ends: 1663 to 1999.
	advice, ok := cpu.Advise(began.Add(1999*time.Hour), 0)
	if want := 1663 + 0.95*336; !ok || math.Abs(advice.Value-want) > 1e-6 || advice.Urgent {
		t.Errorf("%+v, want %v", advice, want)
	}
	memory := Percentile().Memory()
	for i := range 500 {
		memory.Observe(began.Add(time.Duration(i)*time.Hour), 100)
	}
	memory.Observe(began.Add(500*time.Hour), 200)
	memory.Observe(began.Add(501*time.Hour), 100)
	if advice, _ := memory.Advise(began.Add(502*time.Hour), 0); math.Abs(advice.Value-230) > 1e-9 {
		t.Errorf("%+v, want 230", advice)
	}
	memory.OOMKilled(began.Add(503*time.Hour), 230)
	if advice, _ := memory.Advise(began.Add(503*time.Hour), 0); math.Abs(advice.Value-287.5) > 1e-9 || !advice.Urgent {
		t.Errorf("%+v, want 287.5 at once", advice)
	}
	if advice, _ := memory.Advise(began.Add(900*time.Hour), 0); math.Abs(advice.Value) > 1e-9 {
		t.Errorf("%+v, want nothing of what is older than 14 days", advice)
	}
}

func TestGeneratedTracesStayTheSame(t *testing.T) {
	a, b := Generated(), Generated()
	for i := range a.CPU {
		for k := range a.CPU[i].Points {
			if a.CPU[i].Points[k] != b.CPU[i].Points[k] {
				t.Fatalf("%s differs at point %d", a.CPU[i].Name, k)
			}
		}
	}
	if len(a.CPU) != 70 || len(a.Memory) != 77 {
		t.Errorf("%d traces of CPU, %d of memory", len(a.CPU), len(a.Memory))
	}
}
