// SPDX-License-Identifier: Apache-2.0

// Package dockerfile builds the Dockerfile with buildah, without a registry: the
// base image is made from this machine's Go and a static shell. It owns the way
// to build, and must not know what is in the agent.
package dockerfile

import (
	"debug/elf"
	"encoding/json"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/slicewatch/slicewatch/test/kubernetes/debian"
)

// wantEnv asks for the test, which takes minutes and nearly a gigabyte.
const wantEnv = "SLICEWATCH_DOCKERFILE"

// baseImage is the one that the Dockerfile names, as it is stored.
const baseImage = "docker.io/library/golang:1.26"

// builder runs buildah with a storage of its own.
type builder struct{ storage string }

func newBuilder(t *testing.T) builder {
	t.Helper()
	if os.Getenv(wantEnv) == "" {
		t.Skipf("builds for minutes: make dockerfile-test (%s=1)", wantEnv)
	}
	if os.Geteuid() != 0 {
		t.Fatal("needs root: a build in a chroot takes it")
	}
	if _, err := exec.LookPath("buildah"); err != nil {
		t.Fatal("needs buildah: apt-get install buildah")
	}
	return builder{storage: t.TempDir()}
}

// run returns what buildah says on its standard output.
func (b builder) run(t *testing.T, arguments ...string) string {
	t.Helper()
	command := exec.CommandContext(t.Context(), "buildah", append([]string{
		"--root", filepath.Join(b.storage, "root"), "--runroot", filepath.Join(b.storage, "run"), "--storage-driver", "vfs",
	}, arguments...)...)
	command.Stderr = t.Output()
	output, err := command.Output()
	if err != nil {
		t.Fatalf("buildah %s: %v\n%s", strings.Join(arguments, " "), err, output)
	}
	return strings.TrimSpace(string(output))
}

func goEnv(t *testing.T, name string) string {
	t.Helper()
	output, err := exec.CommandContext(t.Context(), "go", "env", name).Output()
	if err != nil {
		t.Fatalf("go env %s: %v", name, err)
	}
	return strings.TrimSpace(string(output))
}

// makeBase stores what stands for the base image: Go, and a shell for RUN.
func (b builder) makeBase(t *testing.T) {
	t.Helper()
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	archive := debian.Archive{Arch: runtime.GOARCH, Suite: "trixie", Cache: filepath.Join(cache, "slicewatch", "kubernetes", "debian"), Log: slog.New(slog.DiscardHandler)}
	box, err := archive.Fetch(t.Context(), "alone", func(name string) bool { return name == "busybox-static" }, "busybox-static")
	if err != nil {
		t.Fatal(err)
	}
	base := b.run(t, "from", "scratch")
	b.run(t, "copy", "--quiet", base, goEnv(t, "GOROOT"), "/usr/local/go")
	b.run(t, "copy", "--quiet", base, filepath.Join(box, "usr/bin/busybox"), "/bin/sh")
	b.run(t, "copy", "--quiet", base, t.TempDir(), "/tmp")
	b.run(t, "config", "--env", "PATH=/usr/local/go/bin:/bin", "--env", "HOME=/tmp", "--env", "GOTOOLCHAIN=local",
		"--env", "GOPROXY=file:///modules,off", "--env", "GOSUMDB=off", "--env", "GOCACHE=/built", base)
	b.run(t, "commit", "--quiet", base, baseImage)
	b.run(t, "rm", base)
}

// TestDockerfile builds for both architectures and looks at what came out.
func TestDockerfile(t *testing.T) {
	b := newBuilder(t)
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	download := exec.CommandContext(t.Context(), "go", "mod", "download")
	download.Dir = root
	if output, err := download.CombinedOutput(); err != nil {
		t.Fatalf("fetch the modules: %v\n%s", err, output)
	}
	b.makeBase(t)
	modules := filepath.Join(goEnv(t, "GOMODCACHE"), "cache", "download")
	for arch, machine := range map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64} {
		t.Run(arch, func(t *testing.T) {
			name := "slicewatch-" + arch
			b.run(t, "build", "--isolation", "chroot", "--pull-never", "--quiet", "--platform", "linux/"+arch,
				// Debian 12's buildah does not know what it builds on, which BuildKit tells.
				"--build-arg", "BUILDPLATFORM=linux/"+runtime.GOARCH,
				"--volume", modules+":/modules:ro", "--volume", goEnv(t, "GOCACHE")+":/built", "--build-arg", "VERSION=v0.0.1-test", "--build-arg", "REVISION=abc", "--tag", name, root)
			b.checkImage(t, name, arch, machine)
		})
	}
}

// checkImage holds that an image is the agent alone, for the right machine.
func (b builder) checkImage(t *testing.T, name, arch string, machine elf.Machine) {
	t.Helper()
	var image struct {
		OCIv1 struct {
			Architecture string
			Config       struct {
				User       string
				Entrypoint []string
				Labels     map[string]string
			}
		}
	}
	if err := json.Unmarshal([]byte(b.run(t, "inspect", "--type", "image", name)), &image); err != nil {
		t.Fatal(err)
	}
	config := image.OCIv1.Config
	got := []string{image.OCIv1.Architecture, config.User, strings.Join(config.Entrypoint, " "),
		config.Labels["org.opencontainers.image.version"], config.Labels["org.opencontainers.image.revision"]}
	if diff := cmp.Diff([]string{arch, "0:0", "/slicewatch", "v0.0.1-test", "abc"}, got); diff != "" {
		t.Errorf("architecture, user, entry point, version and revision (-want +got):\n%s", diff)
	}
	container := b.run(t, "from", "--pull-never", "--platform", "linux/"+arch, name)
	mounted := b.run(t, "mount", container)
	var files []string
	err := filepath.WalkDir(mounted, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() {
			files = append(files, strings.TrimPrefix(path, mounted))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"/slicewatch"}, files); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	program, err := elf.Open(filepath.Join(mounted, "slicewatch"))
	if err != nil {
		t.Fatal(err)
	}
	defer program.Close()
	if program.Machine != machine || program.Section(".interp") != nil {
		t.Errorf("the program is for %v, dynamically linked: %v", program.Machine, program.Section(".interp") != nil)
	}
	if arch == runtime.GOARCH {
		if said := b.run(t, "run", "--isolation", "chroot", container, "--", "/slicewatch", "--version"); !strings.Contains(said, "v0.0.1-test") {
			t.Errorf("the program says of its version: %s", said)
		}
	}
	b.run(t, "umount", container)
	b.run(t, "rm", container)
}
