// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func TestConfigRefuses(t *testing.T) {
	tests := map[string]struct {
		cfg  Config
		want string
	}{
		"architecture":        {Config{Arch: "mips"}, "use arm64 or amd64"},
		"shift without clock": {Config{ClockShift: 3}, "0 without the instruction clock"},
		"shift":               {Config{InstructionClock: true, ClockShift: 11}, "0 to 10"},
		"negative memory":     {Config{MemoryMiB: -1}, "cannot be negative"},
		"no guest port":       {Config{Forwards: []Forward{{HostPort: 80}}}, "ports are 1 to 65535"},
		"host port":           {Config{Forwards: []Forward{{HostPort: 70000, GuestPort: 80}}}, "ports are 1 to 65535"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if test.cfg.Arch == "" {
				test.cfg.Arch = "arm64"
			}
			if _, err := test.cfg.complete(); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v; want one with %q", err, test.want)
			}
		})
	}
}

func TestCacheDirFromEnvironment(t *testing.T) {
	t.Setenv(CacheEnv, "/somewhere")
	cfg, err := Config{Arch: "amd64"}.complete()
	if err != nil || cfg.CacheDir != "/somewhere" {
		t.Errorf("cache in %q, error %v", cfg.CacheDir, err)
	}
}

func TestQEMUArgs(t *testing.T) {
	kernel := Kernel{Image: "/cache/vmlinuz"}
	tests := map[string]Config{
		"arm64": {Arch: "arm64"},
		"amd64-icount-swap-forward": {
			Arch: "amd64", InstructionClock: true, SwapMiB: 64, Append: []string{"psi=1"},
			Forwards: []Forward{{GuestPort: 9779}, {HostPort: 8080, GuestPort: 80, GuestAddress: "10.0.2.130"}},
		},
		"arm64-icount-processors": {Arch: "arm64", InstructionClock: true, ClockShift: 3, CPUs: 4},
	}
	for name, cfg := range tests {
		t.Run(name, func(t *testing.T) {
			cfg.CacheDir = "/cache"
			cfg, err := cfg.complete()
			if err != nil {
				t.Fatal(err)
			}
			e, err := emulatorOf(cfg.Arch)
			if err != nil {
				t.Fatal(err)
			}
			swap := ""
			if cfg.SwapMiB > 0 {
				swap = "/run/swap"
			}
			got := strings.Join(qemuArgs(e, cfg, kernel, "/run/initramfs", swap, []int{4000, 4001, 8080}), "\n") + "\n"
			golden := filepath.Join("testdata", "qemu-"+name+".golden")
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("arguments (-want +got):\n%s", diff)
			}
		})
	}
}

func TestChoosePorts(t *testing.T) {
	ports, err := choosePorts([]Forward{{GuestPort: 1}, {HostPort: 4711, GuestPort: 2}, {GuestPort: 3}})
	if err != nil {
		t.Fatal(err)
	}
	if len(ports) != 4 || ports[2] != 4711 {
		t.Fatalf("ports %v; want four, the third 4711", ports)
	}
	if ports[0] == ports[1] || ports[1] == ports[3] || ports[0] == ports[3] {
		t.Errorf("ports %v are not distinct", ports)
	}
}
