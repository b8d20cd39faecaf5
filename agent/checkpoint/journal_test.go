// SPDX-License-Identifier: Apache-2.0

package checkpoint

import (
	"bytes"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func open(t *testing.T, dir string) (*Journal, []byte, string) {
	t.Helper()
	var log bytes.Buffer
	j, payload, err := OpenJournal(dir, "counters", slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = j.Close() })
	return j, payload, log.String()
}

func write(t *testing.T, j *Journal, payload string) {
	t.Helper()
	if err := j.Write(func(b []byte) []byte { return append(b, payload...) }); err != nil {
		t.Fatal(err)
	}
}

func TestJournalReturnsTheNewest(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "made", "on", "demand")
	j, payload, _ := open(t, dir)
	if payload != nil {
		t.Fatalf("a new journal holds %q", payload)
	}
	for _, p := range []string{"one", "a longer two", "3"} {
		write(t, j, p)
		if err := j.Sync(); err != nil {
			t.Fatal(err)
		}
		_ = j.Close()
		if j, payload, _ = open(t, dir); string(payload) != p {
			t.Fatalf("holds %q, want %q", payload, p)
		}
	}
}

// A kill in the middle of a write leaves the file in any state; the payload
// before it must survive every one of them.
func TestJournalSurvivesATornWrite(t *testing.T) {
	dir := t.TempDir()
	j, _, _ := open(t, dir)
	write(t, j, "the one before")
	write(t, j, "the last one!!")
	_ = j.Close()
	newest := filepath.Join(dir, "counters.0")
	whole, err := os.ReadFile(newest)
	if err != nil {
		t.Fatal(err)
	}
	for cut := range whole {
		torn := append(bytes.Clone(whole[:cut]), bytes.Repeat([]byte{0xff}, len(whole)-cut)...)
		for _, content := range [][]byte{whole[:cut], torn} {
			if err := os.WriteFile(newest, content, 0o600); err != nil {
				t.Fatal(err)
			}
			j, payload, _ := open(t, dir)
			_ = j.Close()
			if string(payload) != "the one before" {
				t.Fatalf("torn at %d: holds %q", cut, payload)
			}
		}
	}
}

func TestJournalSetsAsideWhatItCannotRead(t *testing.T) {
	for name, content := range map[string]string{
		"garbage":       "what is this?",
		"newer version": "SLWJ\x09\x00" + strings.Repeat("\x00", 40),
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			for _, file := range []string{"counters.0", "counters.1"} {
				if err := os.WriteFile(filepath.Join(dir, file), []byte(content), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			j, payload, log := open(t, dir)
			if payload != nil {
				t.Errorf("holds %q", payload)
			}
			aside, _ := filepath.Glob(filepath.Join(dir, "*.unreadable-*"))
			if len(aside) != 2 {
				t.Fatalf("set aside: %v", aside)
			}
			if kept, _ := os.ReadFile(aside[0]); string(kept) != content {
				t.Errorf("what was set aside changed: %q", kept)
			}
			if !strings.Contains(log, aside[0]) {
				t.Errorf("the log does not name %s:\n%s", aside[0], log)
			}
			write(t, j, "anew")
			_ = j.Close()
			if _, payload, _ := open(t, dir); string(payload) != "anew" {
				t.Errorf("holds %q after a write", payload)
			}
		})
	}
}

func TestJournalReject(t *testing.T) {
	dir := t.TempDir()
	j, _, _ := open(t, dir)
	write(t, j, "whole, but no use")
	var said bytes.Buffer
	if err := j.Reject(errors.New("no use"), slog.New(slog.NewTextHandler(&said, nil))); err != nil {
		t.Fatal(err)
	}
	if text := said.String(); !strings.Contains(text, "what it kept starts anew") || !strings.Contains(text, "no use") {
		t.Errorf("said %q, which must hold for every file", text)
	}
	write(t, j, "better")
	_ = j.Close()
	if _, payload, _ := open(t, dir); string(payload) != "better" {
		t.Errorf("holds %q", payload)
	}
	if aside, _ := filepath.Glob(filepath.Join(dir, "*.unreadable-*")); len(aside) != 1 {
		t.Errorf("set aside: %v", aside)
	}
}

func TestJournalIsForOneAgent(t *testing.T) {
	dir := t.TempDir()
	open(t, dir)
	if _, _, err := OpenJournal(dir, "counters", slog.New(slog.DiscardHandler)); !errors.Is(err, ErrLocked) {
		t.Fatalf("error %v, want ErrLocked", err)
	}
}

func TestJournalInAPlaceThatCannotBe(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, _, err := OpenJournal(filepath.Join(file, "state"), "counters", slog.New(slog.DiscardHandler))
	var path *fs.PathError
	if !errors.As(err, &path) || !strings.Contains(err.Error(), file) {
		t.Fatalf("error %v does not name the path", err)
	}
}

func FuzzParseJournal(f *testing.F) {
	f.Add([]byte("SLWJ"), []byte("payload"))
	f.Fuzz(func(t *testing.T, raw, payload []byte) {
		if _, p, err := parseJournal(raw); err == nil && len(p) > len(raw) {
			t.Fatal("a payload longer than its file")
		}
		dir := t.TempDir()
		j, _, err := OpenJournal(dir, "x", slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = j.Close() }()
		if err := j.Write(func(b []byte) []byte { return append(b, payload...) }); err != nil {
			t.Fatal(err)
		}
		written, err := os.ReadFile(j.path(1))
		if err != nil {
			t.Fatal(err)
		}
		if sequence, p, err := parseJournal(written); err != nil || sequence != 1 || !bytes.Equal(p, payload) {
			t.Fatalf("wrote %q, read %q (sequence %d, %v)", payload, p, sequence, err)
		}
	})
}
