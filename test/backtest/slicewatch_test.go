// SPDX-License-Identifier: Apache-2.0

package backtest

import "testing"

// TestRecordedGoals holds what slicewatch's requests cost on the recorded
// traces against what they did when the goals were set. The generated ones take
// longer: make backtest.
func TestRecordedGoals(t *testing.T) {
	traces, err := ReadDir("testdata/nab")
	if err != nil {
		t.Fatal(err)
	}
	goals := GoalsOfCPU(Judge(traces, All(), func(int, int) {}).CPU)
	for i, most := range []float64{0.85, 0.85} {
		if goals.Against[i] > most {
			t.Errorf("cost95 is %.3f of %s's, want at most %v", goals.Against[i], All()[i+1].Name, most)
		}
	}
	if goals.Best > 0.93 {
		t.Errorf("cost95 is %.3f of the better one's on each trace, want at most 0.93", goals.Best)
	}
	if goals.Worst > 1.15 {
		t.Errorf("cost95 is %.3f of the better one's on %s, want at most 1.15", goals.Worst, goals.WorstTrace)
	}
}
