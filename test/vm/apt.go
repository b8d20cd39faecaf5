// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

const (
	// debianKeyring is what a kernel's signatures are checked with. Debian's
	// package debian-archive-keyring brings it, in the keys of all releases
	// that are supported, and of the next.
	debianKeyring = "/usr/share/keyrings/debian-archive-keyring.gpg"
	aptDir        = "/etc/apt"
	// MirrorEnv names the environment variable that has the Debian mirror to
	// use instead of those of the machine's own apt sources.
	MirrorEnv = "SLICEWATCH_DEBIAN_MIRROR"
)

// apt is one private apt: its own sources, lists, cache and status, for another
// architecture and release than the host's. Of the host it uses the settings
// that lead to a mirror (proxies, authentication), and the keyring.
type apt struct {
	// dir is readable for apt's own user, whom root has downloads done by.
	dir, arch, suite string
}

// fetchInto downloads the kernel's package and unpacks it into a folder of dir,
// whose name it returns.
func fetchInto(ctx context.Context, cfg Config, dir string) (string, error) {
	if err := requireApt(); err != nil {
		return "", err
	}
	mirrors, err := debianMirrors()
	if err != nil {
		return "", err
	}
	work, err := os.MkdirTemp("", "slicewatch-apt-")
	if err != nil {
		return "", fmt.Errorf("make a folder for apt: %w", err)
	}
	defer os.RemoveAll(work)
	a := apt{dir: work, arch: cfg.Arch, suite: cfg.Suite}
	if err := a.update(ctx, cfg, mirrors); err != nil {
		return "", err
	}
	name, err := a.kernelPackage(ctx)
	if err != nil {
		return "", err
	}
	cfg.progress("downloading %s (about 70 MB)", name)
	archive, err := a.download(ctx, name)
	if err != nil {
		return "", err
	}
	folder := strings.TrimSuffix(filepath.Base(archive), "_"+cfg.Arch+".deb")
	if _, err := os.Stat(filepath.Join(dir, folder)); err == nil {
		return folder, nil
	}
	cfg.progress("unpacking %s", filepath.Base(archive))
	return folder, unpack(ctx, archive, dir, folder)
}

// unpack makes dir/folder appear complete or not at all.
func unpack(ctx context.Context, archive, dir, folder string) error {
	partial, err := os.MkdirTemp(dir, "partial-")
	if err != nil {
		return fmt.Errorf("unpack %s: %w", archive, err)
	}
	defer os.RemoveAll(partial)
	if _, err := command(ctx, "", "dpkg", "-x", archive, partial); err != nil {
		return err
	}
	if err := keepOnly(partial); err != nil {
		return err
	}
	if err := os.Rename(partial, filepath.Join(dir, folder)); err != nil {
		return fmt.Errorf("keep the unpacked kernel: %w", err)
	}
	return nil
}

func requireApt() error {
	for _, tool := range []string{"apt-get", "apt-cache", "dpkg"} {
		if _, err := exec.LookPath(tool); err != nil {
			return fmt.Errorf("%s is needed to fetch Debian's kernels, and this machine has none: "+
				"run on Debian or Ubuntu, or copy the cache (%s) of a machine that has fetched them", tool, CacheEnv)
		}
	}
	if _, err := os.Stat(debianKeyring); err != nil {
		return fmt.Errorf("the keys of Debian are needed to verify its kernels (%w): apt-get install debian-archive-keyring", err)
	}
	return nil
}

// update tries the mirrors in turn until one has the release, signed by Debian.
func (a apt) update(ctx context.Context, cfg Config, mirrors []string) error {
	var failures []error
	for i, mirror := range mirrors {
		if err := a.configure(mirror); err != nil {
			return err
		}
		cfg.progress("reading the package list of Debian %s for %s (apt source %d of %d)", a.suite, a.arch, i+1, len(mirrors))
		_, err := a.run(ctx, "apt-get", "update", "-q")
		if err == nil {
			return nil
		}
		failures = append(failures, err)
		if ctx.Err() != nil {
			break
		}
	}
	return fmt.Errorf("no apt source of this machine gives it; check the network, or set %s to a Debian mirror's address: %w",
		MirrorEnv, errors.Join(failures...))
}

// configure writes a configuration that comes after the host's and takes away
// from it what would touch the host's own state: its hooks, lists and pins.
func (a apt) configure(mirror string) error {
	for _, d := range []string{"", "lists/partial", "cache/archives/partial", "parts", "deb"} {
		if err := os.MkdirAll(filepath.Join(a.dir, d), 0o755); err != nil {
			return fmt.Errorf("set up apt: %w", err)
		}
	}
	if err := os.Chmod(a.dir, 0o755); err != nil {
		return fmt.Errorf("set up apt: %w", err)
	}
	source := fmt.Sprintf("deb [arch=%s signed-by=%s] %s %s main\n", a.arch, debianKeyring, mirror, a.suite)
	config := strings.ReplaceAll(`#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
#clear APT::Architectures;
APT::Architecture "ARCH";
APT::Architectures { "ARCH"; };
APT::Update::Error-Mode "any";
Acquire::Languages "none";
Acquire::IndexTargets::deb::DEP-11::DefaultEnabled "false";
Acquire::IndexTargets::deb::Contents-deb::DefaultEnabled "false";
Acquire::Retries "2";
Dir::State "DIR";
Dir::State::lists "DIR/lists";
Dir::State::status "DIR/status";
Dir::Cache "DIR/cache";
Dir::Etc::SourceList "DIR/sources.list";
Dir::Etc::SourceParts "DIR/parts";
Dir::Etc::Preferences "DIR/preferences";
Dir::Etc::PreferencesParts "DIR/parts";
`, "DIR", a.dir)
	config = strings.ReplaceAll(config, "ARCH", a.arch)
	for name, text := range map[string]string{"sources.list": source, "apt.conf": config, "status": "", "preferences": ""} {
		if err := os.WriteFile(filepath.Join(a.dir, name), []byte(text), 0o644); err != nil {
			return fmt.Errorf("set up apt: %w", err)
		}
	}
	return nil
}

func (a apt) run(ctx context.Context, tool string, args ...string) (string, error) {
	return command(ctx, filepath.Join(a.dir, "deb"), tool, append([]string{"-c", filepath.Join(a.dir, "apt.conf")}, args...)...)
}

// kernelPackage follows the package that always depends on the newest kernel.
func (a apt) kernelPackage(ctx context.Context) (string, error) {
	always := "linux-image-cloud-" + a.arch
	out, err := a.run(ctx, "apt-cache", "depends", "--important", always)
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(out) {
		name, isDependency := strings.CutPrefix(strings.TrimSpace(line), "Depends: ")
		if isDependency && strings.HasPrefix(name, "linux-image-") {
			return name, nil
		}
	}
	return "", fmt.Errorf("%s names no kernel package among its dependencies", always)
}

// download lets apt check the archive against the signed package list.
func (a apt) download(ctx context.Context, name string) (archive string, err error) {
	if _, err := a.run(ctx, "apt-get", "download", "-q", name); err != nil {
		return "", err
	}
	archives, err := filepath.Glob(filepath.Join(a.dir, "deb", "*.deb"))
	if err != nil || len(archives) != 1 {
		return "", fmt.Errorf("apt-get download %s left %d archives, not one (%w)", name, len(archives), err)
	}
	return archives[0], nil
}

// debianMirrors lists the addresses of the machine's own apt sources. Which of
// them really is Debian's archive shows when its release file is verified.
func debianMirrors() ([]string, error) {
	if mirror := os.Getenv(MirrorEnv); mirror != "" {
		return []string{mirror}, nil
	}
	var all []string
	err := filepath.WalkDir(aptDir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		switch filepath.Ext(path) {
		case ".list", ".sources":
		default:
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		all = append(all, sourceURIs(string(text))...)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read the machine's apt sources: %w", err)
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("%s names no package source: set %s to a Debian mirror's address", aptDir, MirrorEnv)
	}
	return orderMirrors(all), nil
}

// orderMirrors puts first what is most likely to have kernels, and each
// address once.
func orderMirrors(uris []string) []string {
	rank := func(uri string) int {
		switch path := strings.TrimRight(uri, "/"); {
		case strings.HasSuffix(path, "/debian"):
			return 0
		case strings.Contains(path, "debian-security"):
			return 2
		default:
			return 1
		}
	}
	ordered := slices.Clone(uris)
	slices.SortStableFunc(ordered, func(a, b string) int { return rank(a) - rank(b) })
	seen := map[string]bool{}
	return slices.DeleteFunc(ordered, func(uri string) bool {
		again := seen[uri]
		seen[uri] = true
		return again
	})
}

// sourceURIs reads both forms of apt's sources: one line each ("deb [options]
// URI suite component") and paragraphs ("URIs: URI URI").
func sourceURIs(text string) []string {
	var uris []string
	scanner := bufio.NewScanner(strings.NewReader(text))
	for scanner.Scan() {
		line := strings.TrimSpace(scanner.Text())
		if rest, ok := strings.CutPrefix(line, "URIs:"); ok {
			uris = append(uris, strings.Fields(rest)...)
			continue
		}
		rest, ok := strings.CutPrefix(line, "deb ")
		if !ok {
			continue
		}
		rest = strings.TrimSpace(rest)
		if strings.HasPrefix(rest, "[") {
			_, rest, _ = strings.Cut(rest, "]")
		}
		if fields := strings.Fields(rest); len(fields) >= 2 {
			uris = append(uris, fields[0])
		}
	}
	return uris
}
