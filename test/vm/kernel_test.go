// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// cacheKernel puts an unpacked kernel into a cache.
func cacheKernel(t *testing.T, cache, pkg, release, prefix string, age time.Duration) string {
	t.Helper()
	dir := filepath.Join(cache, "kernels", "arm64-trixie", pkg)
	for _, d := range []string{"boot", filepath.Join(prefix, "modules", release)} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "boot", "vmlinuz-"+release), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	when := time.Now().Add(-age)
	if err := os.Chtimes(dir, when, when); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestFetchKernelFromCache(t *testing.T) {
	cache := t.TempDir()
	cacheKernel(t, cache, "linux-image-6.12.9_1", "6.12.9", "lib", time.Hour)
	newest := cacheKernel(t, cache, "linux-image-6.12.10_1", "6.12.10", "usr/lib", time.Minute)
	if err := os.Mkdir(filepath.Join(filepath.Dir(newest), "partial-1"), 0o755); err != nil {
		t.Fatal(err)
	}
	got, err := FetchKernel(t.Context(), Config{Arch: "arm64", Suite: "trixie", CacheDir: cache})
	if err != nil {
		t.Fatal(err)
	}
	want := Kernel{
		Arch: "arm64", Suite: "trixie", Package: "linux-image-6.12.10_1", Release: "6.12.10",
		Image:     filepath.Join(newest, "boot", "vmlinuz-6.12.10"),
		ModuleDir: filepath.Join(newest, "usr", "lib", "modules", "6.12.10"),
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("kernel (-want +got):\n%s", diff)
	}
}

func TestDamagedCacheSaysWhatToDo(t *testing.T) {
	for name, damage := range map[string]string{"image": "boot", "modules": "lib"} {
		t.Run(name, func(t *testing.T) {
			cache := t.TempDir()
			dir := cacheKernel(t, cache, "linux-image-6.12.9_1", "6.12.9", "lib", 0)
			if err := os.RemoveAll(filepath.Join(dir, damage)); err != nil {
				t.Fatal(err)
			}
			_, err := FetchKernel(t.Context(), Config{Arch: "arm64", Suite: "trixie", CacheDir: cache})
			if err == nil || !strings.Contains(err.Error(), dir) || !strings.Contains(err.Error(), "remove it") {
				t.Errorf("error %v; want one that names %s and what to do", err, dir)
			}
		})
	}
}

func TestLock(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	unlock, err := lock(t.Context(), path, func() { t.Error("waited for a free lock") })
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	if _, err := lock(ctx, path, cancel); !errors.Is(err, context.Canceled) {
		t.Errorf("second lock: error %v; want to wait until told to stop", err)
	}
	told := 0
	second, err := lock(t.Context(), path, func() { told++; unlock() })
	if err != nil || told != 1 {
		t.Fatalf("lock after unlock: error %v, told %d times", err, told)
	}
	second()
}
