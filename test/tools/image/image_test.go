// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/validate"
)

// programs builds a small Go program for both architectures. It is made from
// this module, so that it has modules to list.
func programs(t *testing.T) []binary {
	t.Helper()
	directory := t.TempDir()
	var built []binary
	for _, arch := range []string{"amd64", "arm64"} {
		path := filepath.Join(directory, arch)
		build := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-o", path, "./testdata/program")
		build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+arch)
		if output, err := build.CombinedOutput(); err != nil {
			t.Fatalf("build a program: %v\n%s", err, output)
		}
		built = append(built, binary{arch, path})
	}
	return built
}

var june = release{version: "v1.2.3+dirty", revision: "abc", created: time.Unix(1_780_000_000, 0).UTC()}

func TestLayout(t *testing.T) {
	out, binaries := t.TempDir(), programs(t)
	tag, err := june.write(out, binaries)
	if err != nil {
		t.Fatal(err)
	}
	digest, err := os.ReadFile(filepath.Join(out, "slicewatch.digest"))
	if err != nil {
		t.Fatal(err)
	}
	hex := strings.TrimPrefix(strings.TrimSpace(string(digest)), "sha256:")
	if want := "v1.2.3_dirty-" + hex[:12]; tag != want {
		t.Errorf("tag %s, want %s", tag, want)
	}
	root, err := layout.ImageIndexFromPath(filepath.Join(out, layoutName))
	if err != nil {
		t.Fatal(err)
	}
	if err := validate.Index(root); err != nil {
		t.Errorf("the layout is not valid: %v", err)
	}
	outer, err := root.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	if len(outer.Manifests) != 1 || outer.Manifests[0].Annotations["io.containerd.image.name"] != "docker.io/library/slicewatch:"+tag {
		t.Fatalf("the layout has %+v, want one index with a name", outer.Manifests)
	}
	index, err := root.ImageIndex(outer.Manifests[0].Digest)
	if err != nil {
		t.Fatal(err)
	}
	inner, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	var platforms []string
	for _, manifest := range inner.Manifests {
		platforms = append(platforms, manifest.Platform.String())
		image, err := index.Image(manifest.Digest)
		if err != nil {
			t.Fatal(err)
		}
		config, err := image.ConfigFile()
		if err != nil {
			t.Fatal(err)
		}
		if config.Architecture != manifest.Platform.Architecture || config.Config.Labels["org.opencontainers.image.revision"] != "abc" ||
			config.Config.Labels["org.opencontainers.image.created"] != "2026-05-28T20:26:40Z" {
			t.Errorf("config of %s: %+v", manifest.Platform, config)
		}
	}
	if !slices.Equal(platforms, []string{"linux/amd64", "linux/arm64"}) {
		t.Errorf("platforms %q", platforms)
	}
}

func TestSameInputSameBytes(t *testing.T) {
	first, second := t.TempDir(), t.TempDir()
	tag, err := june.write(first, programs(t))
	if err != nil {
		t.Fatal(err)
	}
	if again, err := june.write(second, programs(t)); err != nil || again != tag {
		t.Fatalf("tag %s the first time, %s the second, error %v", tag, again, err)
	}
	for _, name := range []string{layoutName + ".tar", "slicewatch-arm64.spdx.json"} {
		a, errA := os.ReadFile(filepath.Join(first, name))
		b, errB := os.ReadFile(filepath.Join(second, name))
		if errA != nil || errB != nil || string(a) != string(b) {
			t.Errorf("%s differs: %d and %d bytes, errors %v, %v", name, len(a), len(b), errA, errB)
		}
	}
	later := june
	later.revision = "abd"
	if other, err := later.write(t.TempDir(), programs(t)); err != nil || other == tag {
		t.Errorf("another revision has the same tag %s, error %v", other, err)
	}
}

func TestBillOfMaterials(t *testing.T) {
	out := t.TempDir()
	if _, err := june.write(out, programs(t)); err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(filepath.Join(out, "slicewatch-arm64.spdx.json"))
	if err != nil {
		t.Fatal(err)
	}
	var d document
	if err := json.Unmarshal(content, &d); err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	for _, p := range d.Packages {
		names[p.Name] = true
	}
	for _, want := range []string{"slicewatch", "stdlib", "github.com/google/go-containerregistry"} {
		if !names[want] {
			t.Errorf("the list lacks %s: %v", want, names)
		}
	}
	if len(d.Relationships) != len(d.Packages) {
		t.Errorf("%d relationships of %d packages", len(d.Relationships), len(d.Packages))
	}
	if _, err := june.write(t.TempDir(), []binary{{"arm64", filepath.Join(out, "slicewatch.tag")}}); err == nil {
		t.Error("a text file was taken for a program")
	}
}
