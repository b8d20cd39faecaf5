// SPDX-License-Identifier: Apache-2.0

// Package history keeps what each container of each workload used, for as long
// as a right-sizing hint needs it and in bounded memory: decaying distributions
// of CPU demand, the memory peaks of two weeks, what the kernel said about
// throttling, OOM kills and memory pressure, and which hint was published last.
// It owns these summaries, their ageing and their saved form. It must not know
// what follows from them (package hints), where samples come from, or any clock:
// time comes in with each sample.
//
// # Feeding a trace
//
// The same code serves the agent, which adds a sample a second, and a
// back-test, which walks forward through a recorded trace of any resolution:
//
//	store := history.NewStore(history.Config{})
//	series := store.Series(history.Key{Namespace: "default", WorkloadKind: "Deployment", Workload: "web", Container: "app"}, start)
//	facts := hints.Facts{}
//	for _, row := range trace {
//		series.Add(history.Sample{At: row.Time, Elapsed: step, CPUCores: history.Known(row.CPU), WorkingSetBytes: history.Known(row.Memory)})
//		hint := hints.Advise(series, facts, settings, row.Time) // held a day, urgent ones at once
//		...
//		// what the hint is judged by are the rows after this one
//	}
//
// A sample's At is the end of the interval that it speaks of. An OOM kill is
// told with Series.AddOOM, a window of per-period CPU records (reduced by
// package hints/quota) with Series.AddWindow.
package history
