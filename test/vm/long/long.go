// SPDX-License-Identifier: Apache-2.0

// Package long tells a test in an emulated machine whether the tests that take
// minutes were asked for. It knows no test and starts no machine.
package long

import (
	"os"
	"slices"
	"strings"
	"testing"
)

// Word on the kernel's command line asks for what takes minutes
// (vmtest -append SLICEWATCH_TEST_LONG).
const Word = "SLICEWATCH_TEST_LONG"

// Asked says whether the machine was started with [Word].
func Asked() bool {
	words, err := os.ReadFile("/proc/cmdline")
	return err == nil && slices.Contains(strings.Fields(string(words)), Word)
}

// Only skips the test with the reason unless it was [Asked] for.
func Only(t testing.TB, reason string) {
	t.Helper()
	if !Asked() {
		t.Skipf("%s: vmtest -append %s runs it", reason, Word)
	}
}
