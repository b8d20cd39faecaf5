// SPDX-License-Identifier: Apache-2.0

package hints

import (
	"maps"
	"regexp"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/slicewatch/slicewatch/agent/history"
	"github.com/slicewatch/slicewatch/agent/snapshot"
)

// span is a number as a sentence tells it: what it may have been before it was
// rounded for the reader.
type span struct {
	low, high float64
	known     bool
}

func (s span) times(v float64) span { return span{s.low * v, s.high * v, s.known} }

func (s span) atLeast(o span) span {
	if !o.known {
		return s
	}
	return span{max(s.low, o.low), max(s.high, o.high), true}
}

func (s span) atMost(o span) span {
	if !o.known || !s.known {
		return s
	}
	return span{min(s.low, o.low), min(s.high, o.high), true}
}

// has says whether an amount is what one gets from the span by rounding up.
func (s span) has(q snapshot.Quantity, step float64) bool {
	if !s.known || !q.Known {
		return s.known == q.Known
	}
	const hair = 1e-9
	return q.V >= roundUp(s.low, step)-hair*s.low && q.V <= roundUp(s.high, step)+hair*s.high
}

var spelled = regexp.MustCompile(`^([0-9.]+)(m|Ki|Mi|Gi|)$`)

// read reads an amount of CPU or memory as words.go spells it.
func read(t rapid.TB, text string) span {
	parts := spelled.FindStringSubmatch(text)
	if parts == nil {
		t.Fatalf("%q is no amount", text)
	}
	v, err := strconv.ParseFloat(parts[1], 64)
	if err != nil {
		t.Fatal(err)
	}
	unit := map[string]float64{"m": 0.001, "Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30, "": 1}[parts[2]]
	half := 0.5
	switch {
	case parts[2] == "m" && v < 10, parts[2] != "m" && v >= 10 && v < 100:
		half = 0.05
	case parts[2] != "m" && v < 10:
		half = 0.005
	}
	return span{(v - half) * unit, (v + half) * unit, true}
}

// told finds the amounts in the sentences of a reason; none without that reason.
func told(t rapid.TB, h snapshot.Hint, code snapshot.ReasonCode, pattern *regexp.Regexp) span {
	var found span
	for _, r := range h.Reasons {
		if r.Code != code {
			continue
		}
		if match := pattern.FindStringSubmatch(r.Text); match != nil {
			found = found.atLeast(read(t, match[1]))
		}
	}
	return found
}

const anAmount = `([0-9.]+(?:m|Ki|Mi|Gi|))`

// What the sentences say around the amounts that count.
var (
	usedAtMost        = regexp.MustCompile(`used at most ` + anAmount + ` \(`)
	newerUse          = regexp.MustCompile(`half-life of 6 h is ` + anAmount + `\.$`)
	withHeadroom      = regexp.MustCompile(` = ` + anAmount + `\.$`)
	rising            = regexp.MustCompile(`which makes ` + anAmount + `\.$`)
	atOnce            = regexp.MustCompile(`(?:at once needs |needs about |time it needs |It needs |the limit is enough: |of margin )` + anAmount + `(?: in 99%|[.,:;])`)
	couldUse          = regexp.MustCompile(`could use, with (?:5% of|a) margin ` + anAmount + `[.;]`)
	neededAtMost      = regexp.MustCompile(`needed at most ` + anAmount + `,`)
	wasTooLow         = regexp.MustCompile(`a limit of ` + anAmount + ` was too low before`)
	highest           = regexp.MustCompile(`14 days was ` + anAmount + `,`)
	twice             = regexp.MustCompile(`the request: ` + anAmount + `\.$`)
	cappedAt          = regexp.MustCompile(`is capped at ` + anAmount + `\.$`)
	heldRequest       = regexp.MustCompile(`Shown is the request of ` + anAmount + ` `)
	heldLimit         = regexp.MustCompile(`Shown is the limit of ` + anAmount + ` `)
	thatIs            = regexp.MustCompile(`that is ` + anAmount + `\.$`)
	afterKill         = regexp.MustCompile(`: ` + anAmount + `\.$`)
	afterStrain       = regexp.MustCompile(`x 1\.15 = ` + anAmount + `\.$`)
	heldMemoryLimit   = regexp.MustCompile(`limit of ` + anAmount + ` `)
	heldMemoryRequest = regexp.MustCompile(`request of ` + anAmount + ` `)
)

// recomputeCPU follows docs/hints.md with the numbers of the sentences alone.
func recomputeCPU(t rapid.TB, h snapshot.Hint) (request, limit span) {
	say := func(code snapshot.ReasonCode, pattern *regexp.Regexp) span { return told(t, h, code, pattern) }
	request = say(snapshot.ReasonCPUDemand, usedAtMost)
	for _, later := range []span{
		say(snapshot.ReasonCPURising, rising),
		say(snapshot.ReasonCPULevelRose, newerUse),
		say(snapshot.ReasonCPUHeadroom, withHeadroom),
	} {
		if later.known {
			request = later
		}
	}
	limit = say(snapshot.ReasonCPUThrottled, atOnce).
		atLeast(say(snapshot.ReasonCPUSaturated, couldUse)).
		atLeast(say(snapshot.ReasonCPUUnthrottled, neededAtMost)).
		atLeast(say(snapshot.ReasonCPUUnthrottled, wasTooLow)).
		atLeast(say(snapshot.ReasonCPUThrottled, wasTooLow)).
		atLeast(say(snapshot.ReasonCPUSaturated, wasTooLow)).
		atLeast(say(snapshot.ReasonCPUPeak, highest)).
		atLeast(say(snapshot.ReasonCPULimitRatio, twice))
	if Policy(h.Policy) == NoCPULimit {
		limit = span{}
	}
	if Policy(h.Policy) == Guaranteed && limit.known {
		request = limit
	}
	most := say(snapshot.ReasonCPUNodeCap, cappedAt)
	request, limit = request.atMost(most), limit.atMost(most)
	if held := say(snapshot.ReasonCPUHeld, heldRequest); held.known {
		request = held
	}
	if held := say(snapshot.ReasonCPUHeld, heldLimit); held.known {
		limit = held
	}
	return request, limit
}

func recomputeMemory(t rapid.TB, h snapshot.Hint) (request, limit span) {
	say := func(code snapshot.ReasonCode, pattern *regexp.Regexp) span { return told(t, h, code, pattern) }
	need := say(snapshot.ReasonMemoryPeak, thatIs)
	floor := say(snapshot.ReasonMemoryOOM, afterKill).atLeast(say(snapshot.ReasonMemoryPodOOM, afterKill))
	for _, code := range []snapshot.ReasonCode{snapshot.ReasonMemoryPressure, snapshot.ReasonMemoryHigh, snapshot.ReasonMemoryRefaults} {
		floor = floor.atLeast(say(code, afterStrain))
	}
	request, limit = need.atLeast(floor), need.atLeast(floor)
	if Policy(h.Policy) == Burstable {
		if need.known {
			request = need
		}
		limit = request.times(2).atLeast(floor)
	}
	most := say(snapshot.ReasonMemoryNodeCap, cappedAt)
	request, limit = request.atMost(most), limit.atMost(most)
	if held := say(snapshot.ReasonMemoryHeld, heldMemoryLimit); held.known {
		limit = held
		request = say(snapshot.ReasonMemoryHeld, heldMemoryRequest)
	}
	return request, limit
}

// amountOf names one of a hint's four amounts, and the step that it is rounded to.
type amountOf struct {
	name string
	step float64
	in   func(*snapshot.Hint) *snapshot.Quantity
}

func fourAmounts() [4]amountOf {
	return [4]amountOf{
		{"CPU request", cpuStepCores, func(h *snapshot.Hint) *snapshot.Quantity { return &h.CPURequestCores }},
		{"CPU limit", cpuStepCores, func(h *snapshot.Hint) *snapshot.Quantity { return &h.CPULimitCores }},
		{"memory request", memoryStepBytes, func(h *snapshot.Hint) *snapshot.Quantity { return &h.MemoryRequestBytes }},
		{"memory limit", memoryStepBytes, func(h *snapshot.Hint) *snapshot.Quantity { return &h.MemoryLimitBytes }},
	}
}

// differences returns what the sentences give for those amounts that are not
// what the hint has.
func differences(t rapid.TB, h snapshot.Hint) map[string]span {
	var given [4]span
	given[0], given[1] = recomputeCPU(t, h)
	given[2], given[3] = recomputeMemory(t, h)
	found := map[string]span{}
	for i, a := range fourAmounts() {
		if !given[i].has(*a.in(&h), a.step) {
			found[a.name] = given[i]
		}
	}
	return found
}

func recomputable(t rapid.TB, h snapshot.Hint) {
	for name, given := range differences(t, h) {
		t.Errorf("%s: the sentences give %v\n%s", name, given, describe(h))
	}
	above := h.CPULimitCores.Known && h.CPURequestCores.V > h.CPULimitCores.V || h.MemoryRequestBytes.V > h.MemoryLimitBytes.V
	if apart := h.CPURequestCores != h.CPULimitCores || h.MemoryRequestBytes != h.MemoryLimitBytes; above || apart && Policy(h.Policy) == Guaranteed {
		t.Errorf("request and limit do not go together:\n%s", describe(h))
	}
}

// laterScenarios are looked at when a hint stands already, or let a sentence decide
// that does so in none of the others.
func laterScenarios() []scenario {
	plain := limits(0.25, 0.5, 256*mi, 512*mi)
	stands := func(s *story, settings Settings) *story {
		Advise(s.Series, plain, settings, s.now)
		return s
	}
	guaranteed := Settings{Policy: Guaranteed}
	// Margins are small after a week, so that what strain asks for is more.
	strain := func(change func(*history.Sample)) *story {
		s := begin().uses(7*day, 0.1, 400*mi)
		for range 12 {
			s.now = s.now.Add(15 * time.Second)
			sample := history.Sample{At: s.now, Elapsed: 15 * time.Second, WorkingSetBytes: history.Known(480 * mi), MemoryLimitBytes: history.Known(512 * mi)}
			change(&sample)
			s.Add(sample)
		}
		return s
	}
	return []scenario{
		{"the CPU request is held", stands(begin().uses(2*day, 0.2, 100*mi), Settings{}).uses(3*time.Hour, 0.25, 100*mi).uses(2*time.Hour, 0.2, 100*mi), plain, Settings{}},
		{"the CPU limit is held", stands(begin().uses(2*day, 0.2, 100*mi), Settings{}).window(func(w *history.Window) { w.NeedCores = 0.48 }), plain, Settings{}},
		{"both are held", stands(begin().uses(2*day, 0.2, 100*mi), guaranteed).uses(3*time.Hour, 0.25, 100*mi).uses(2*time.Hour, 0.2, 100*mi), plain, guaranteed},
		{"the level rose", stands(begin().uses(2*day, 0.2, 100*mi), Settings{}).uses(time.Hour, 0.3, 100*mi), plain, Settings{}},
		{"memory is held", stands(begin().uses(2*day, 0.2, 100*mi), Settings{}).uses(time.Hour, 0.2, 160*mi), plain, Settings{}},
		{"killed at the pod's limit, far above its peak", begin().uses(day, 0.1, 100*mi).killed(history.OOMPod, 256*mi), plain, Settings{}},
		{"memory pressure after a week", strain(func(s *history.Sample) { s.MemoryPressure = history.Known(0.18) }), plain, Settings{Policy: NoCPULimit}},
		{"at memory.high after a week", strain(func(s *history.Sample) { s.MemoryHighEvents = history.Known(7) }), plain, Settings{Policy: NoCPULimit}},
		{"refaults after a week", strain(func(s *history.Sample) { s.FileRefaults = history.Known(60000) }), plain, Settings{Policy: NoCPULimit}},
	}
}

// TestScenariosGiveTheAmounts does so for the stories that all sentences are held by.
func TestScenariosGiveTheAmounts(t *testing.T) {
	for _, s := range slices.Concat(cpuScenarios(), memoryScenarios(), strainScenarios(), laterScenarios()) {
		t.Run(s.name, func(t *testing.T) {
			recomputable(t, Advise(s.story.Series, s.facts, s.settings, s.story.now))
		})
	}
}

// TestSentencesGiveTheAmounts recomputes every amount from what its sentences say
// and from the rules of docs/hints.md: as an operator would by hand.
func TestSentencesGiveTheAmounts(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := lives().Draw(t, "life")
		facts := Facts{}
		if rapid.Bool().Draw(t, "small node") {
			facts.NodeCPUs, facts.NodeMemoryBytes = amount(rapid.Float64Range(0.5, 4).Draw(t, "node CPUs")), amount(rapid.Float64Range(256, 4096).Draw(t, "node Mi")*mi)
		}
		// Looked at now and then, so that older amounts stand.
		s := begin()
		looks := rapid.IntRange(1, 60).Draw(t, "looks every")
		for i := range l.cores {
			s.now = s.now.Add(l.step)
			sample := history.Sample{At: s.now, Elapsed: l.step, CPUCores: history.Known(l.cores[i]), WorkingSetBytes: history.Known(l.memory[i])}
			s.Add(sample)
			if i < len(l.windows) {
				w := l.windows[i]
				w.Start, w.End = s.now.Add(-time.Minute), s.now
				w.Saturated = w.Throttled > 550
				s.AddWindow(w)
			}
			if i == l.oomAt {
				s.killed(history.OOMContainer, l.oomLimit)
			}
			if i%looks == 0 {
				recomputable(t, Advise(s.Series, facts, l.settings, s.now))
			}
		}
		recomputable(t, Advise(s.Series, facts, l.settings, s.now))
	})
}

// TestRecomputationFindsOtherAmounts is of the recomputation itself: one amount
// that is not that of the sentences is found, and no other is taken for it.
func TestRecomputationFindsOtherAmounts(t *testing.T) {
	for _, s := range slices.Concat(cpuScenarios(), memoryScenarios(), strainScenarios(), laterScenarios()) {
		t.Run(s.name, func(t *testing.T) {
			h := Advise(s.story.Series, s.facts, s.settings, s.story.now)
			for _, a := range fourAmounts() {
				for _, steps := range []float64{-2, 2} {
					other := h
					q := a.in(&other)
					// One that is absent must not be there: it is no zero.
					q.V, q.Known = q.V+steps*a.step, true
					got := slices.Sorted(maps.Keys(differences(t, other)))
					if diff := cmp.Diff([]string{a.name}, got); diff != "" {
						t.Errorf("%s, %+.0f steps off: found elsewhere (-want +got):\n%s%s", a.name, steps, diff, describe(other))
					}
				}
			}
		})
	}
}

// TestRecomputationNeedsTheSentences holds that each sentence of docs/hints.md, "By
// hand", has the last word in a scenario: without it other amounts come out. Else
// the scenarios could be recomputed without it ever being read.
func TestRecomputationNeedsTheSentences(t *testing.T) {
	var needed []snapshot.ReasonCode
	for _, s := range slices.Concat(cpuScenarios(), memoryScenarios(), strainScenarios(), laterScenarios()) {
		h := Advise(s.story.Series, s.facts, s.settings, s.story.now)
		for i, r := range h.Reasons {
			without := h
			without.Reasons = slices.Delete(slices.Clone(h.Reasons), i, i+1)
			if !slices.Contains(needed, r.Code) && len(differences(t, without)) > 0 {
				needed = append(needed, r.Code)
			}
		}
	}
	want := []snapshot.ReasonCode{
		snapshot.ReasonCPUDemand, snapshot.ReasonCPULevelRose, snapshot.ReasonCPUHeadroom, snapshot.ReasonCPURising,
		snapshot.ReasonCPUThrottled, snapshot.ReasonCPUSaturated, snapshot.ReasonCPUUnthrottled, snapshot.ReasonCPUPeak, snapshot.ReasonCPULimitRatio,
		snapshot.ReasonMemoryPeak, snapshot.ReasonMemoryOOM, snapshot.ReasonMemoryPodOOM,
		snapshot.ReasonMemoryPressure, snapshot.ReasonMemoryHigh, snapshot.ReasonMemoryRefaults,
		snapshot.ReasonCPUNodeCap, snapshot.ReasonMemoryNodeCap, snapshot.ReasonCPUHeld, snapshot.ReasonMemoryHeld,
	}
	slices.Sort(want)
	slices.Sort(needed)
	if diff := cmp.Diff(want, needed); diff != "" {
		t.Errorf("sentences without which other amounts come out (-want +got):\n%s", diff)
	}
}

// Where the need of a throttled window is a product, its factors are there.
func TestFactorsGiveTheNeed(t *testing.T) {
	ofTurns := regexp.MustCompile(`need 1\.75 x the ` + anAmount + ` that .* with 5% of margin ` + anAmount + `[.;]`)
	ofOthers := regexp.MustCompile(`(?:needs|can use,) ` + anAmount + `(?: with what|, it does).* with 5% of margin ` + anAmount + `[.;]`)
	ofRaise := regexp.MustCompile(`the limit of ` + anAmount + ` throttled .* 1\.25 x the limit is enough: ` + anAmount + `\.`)
	found := map[*regexp.Regexp]int{}
	for _, s := range cpuScenarios() {
		text := describe(Advise(s.story.Series, s.facts, s.settings, s.story.now))
		for pattern, factor := range map[*regexp.Regexp]float64{ofTurns: history.TurnFactor * 1.05, ofOthers: 1.05, ofRaise: 1.25} {
			match := pattern.FindStringSubmatch(text)
			if match == nil {
				continue
			}
			found[pattern]++
			if given, told := read(t, match[1]).times(factor), read(t, match[2]); given.high < told.low || given.low > told.high {
				t.Errorf("%s x %g is not %s:\n%s", match[1], factor, match[2], text)
			}
		}
	}
	if found[ofTurns] != 1 || found[ofOthers] != 2 || found[ofRaise] != 1 {
		t.Errorf("found %v", found)
	}
}
