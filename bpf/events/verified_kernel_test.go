// SPDX-License-Identifier: Apache-2.0

package events

import (
	"bytes"
	"fmt"
	"os"
	"testing"

	"github.com/slicewatch/slicewatch/test/kubetree/treetest"
)

// The verifier gives up after a million instructions, and walks through each turn of
// some loops. No test machine has CPUs enough for that: the programs are told of more.
func TestProgramsAreVerifiedForManyCPUs(t *testing.T) {
	treetest.Need(t)
	const most = 50_000
	l, err := newLoader(Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = closeMaps(l.maps) })
	l.haveIncidents = 1
	verify := func(t *testing.T, name string, perCPU bool) {
		program, err := l.loadWith(name, perCPU)
		if err != nil {
			t.Fatal(err)
		}
		defer program.Close()
		info, err := program.Info()
		if err != nil {
			t.Fatal(err)
		}
		n, ok := info.VerifiedInstructions()
		if t.Logf("%d instructions were verified", n); !ok || n > most {
			t.Errorf("%d instructions were verified (known: %t), want %d at most", n, ok, most)
		}
	}
	all := func(t *testing.T, perCPU bool) {
		for _, cpus := range []uint32{1, 1024} {
			l.cpus = cpus
			for _, name := range []string{programProgCgroupBorn, programProgCgroupDied, programProgTaskGone, programProgOomVictim} {
				t.Run(fmt.Sprintf("%s on %d", name, cpus), func(t *testing.T) { verify(t, name, perCPU) })
			}
		}
	}
	t.Run("alone", func(t *testing.T) { all(t, false) })
	t.Run("with what each CPU counts", func(t *testing.T) {
		if !knowsPerCPU(t) {
			t.Skip("needs a kernel with CONFIG_KALLSYMS_ALL, to know where that is")
		}
		all(t, true)
	})
}

// knowsPerCPU says whether the kernel has the names of its variables.
func knowsPerCPU(t *testing.T) bool {
	t.Helper()
	symbols, err := os.ReadFile("/proc/kallsyms")
	if err != nil {
		t.Fatal(err)
	}
	return bytes.Contains(symbols, []byte(" "+perCPUVariable+"\n"))
}
