// SPDX-License-Identifier: Apache-2.0

//go:build linux

package process

import (
	"os"
	"strings"
	"testing"
)

func TestStartFindStop(t *testing.T) {
	g := Group{Directory: t.TempDir()}
	if err := g.Start("sleeper", "sleep", "1000"); err != nil {
		t.Fatal(err)
	}
	if running, err := g.Running("sleeper"); err != nil || !running {
		t.Errorf("Running = %v, %v; want true", running, err)
	}
	if err := g.Start("sleeper", "sleep", "1000"); err == nil || !strings.Contains(err.Error(), "runs already") {
		t.Errorf("second Start = %v, want an error that says it runs already", err)
	}
	if err := g.Stop(t.Context(), "sleeper"); err != nil {
		t.Fatal(err)
	}
	if running, err := g.Running("sleeper"); err != nil || running {
		t.Errorf("Running after Stop = %v, %v; want false", running, err)
	}
	if err := g.Stop(t.Context(), "sleeper"); err != nil {
		t.Errorf("second Stop = %v, want no error", err)
	}
}

// A record left behind by a process that ended long ago must not make Stop
// kill whoever has its id today.
func TestStopSparesAnotherProcessOfTheSameID(t *testing.T) {
	g := Group{Directory: t.TempDir()}
	if err := g.Start("sleeper", "sleep", "1000"); err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(g.recordFile("sleeper"))
	if err != nil {
		t.Fatal(err)
	}
	stale := strings.Replace(string(content), `"StartTicks":"`, `"StartTicks":"1`, 1)
	if err := os.WriteFile(g.recordFile("stale"), []byte(stale), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := g.Stop(t.Context(), "stale"); err != nil {
		t.Fatal(err)
	}
	if running, err := g.Running("sleeper"); err != nil || !running {
		t.Errorf("Running = %v, %v; want the sleeper untouched", running, err)
	}
	if err := g.Stop(t.Context(), "sleeper"); err != nil {
		t.Fatal(err)
	}
}

func TestStartSaysWhyAProgramEnds(t *testing.T) {
	g := Group{Directory: t.TempDir()}
	if err := g.Start("absent", "/does/not/exist"); err == nil || !strings.Contains(err.Error(), "/does/not/exist") {
		t.Errorf("Start = %v, want an error that names the program", err)
	}
}
