// SPDX-License-Identifier: Apache-2.0

// Package debian fetches and unpacks packages of another architecture from
// the Debian archive that this machine already uses.
//
// It owns apt's separate state for that architecture and a cache of unpacked
// packages. It must not know what the packages are for. Nothing is installed
// and no maintainer script runs.
package debian

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Archive is one suite of the Debian archive for one architecture.
type Archive struct {
	// Arch is the architecture as Debian spells it, Suite for example trixie.
	Arch, Suite string
	// Cache is the directory for package lists, packages and what they hold.
	Cache string
	Log   *slog.Logger
}

// keyring is where Debian keeps the keys that sign its archive.
const keyring = "/usr/share/keyrings/debian-archive-keyring.gpg"

// Fetch returns a directory that holds the files of the packages named by
// wanted and of everything they depend on, as far as keep accepts the
// package's name. The directory is made once per set of arguments; key names
// what keep does. The caller must not write to it.
func (a Archive) Fetch(ctx context.Context, key string, keep func(name string) bool, wanted ...string) (string, error) {
	digest := sha256.Sum256([]byte(key + "\n" + strings.Join(wanted, "\n")))
	directory := filepath.Join(a.home(), "files-"+hex.EncodeToString(digest[:])[:16])
	if _, err := os.Stat(directory); err == nil {
		return directory, nil
	} else if !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	if err := a.fetch(ctx, directory, keep, wanted); err != nil {
		return "", fmt.Errorf("fetch Debian packages %s (%s, %s): %w", strings.Join(wanted, " "), a.Suite, a.Arch, err)
	}
	return directory, nil
}

func (a Archive) home() string { return filepath.Join(a.Cache, a.Arch+"-"+a.Suite) }

func (a Archive) fetch(ctx context.Context, directory string, keep func(string) bool, wanted []string) error {
	if err := a.update(ctx); err != nil {
		return err
	}
	simulated, err := a.apt(ctx, "", append([]string{"install", "--no-install-recommends", "--simulate"}, wanted...)...)
	if err != nil {
		return err
	}
	var names []string
	for line := range strings.Lines(simulated) {
		fields := strings.Fields(line)
		if len(fields) > 1 && fields[0] == "Inst" && keep(fields[1]) {
			names = append(names, fields[1])
		}
	}
	if len(names) == 0 {
		return errors.New("apt would install nothing")
	}
	packages, err := os.MkdirTemp(a.home(), "packages-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(packages)
	a.Log.Info("fetching packages", "arch", a.Arch, "suite", a.Suite, "packages", len(names))
	if _, err := a.apt(ctx, packages, append([]string{"download"}, names...)...); err != nil {
		return err
	}
	return unpack(ctx, packages, directory)
}

// unpack fills directory with the files of all packages in packages.
func unpack(ctx context.Context, packages, directory string) error {
	files, err := filepath.Glob(filepath.Join(packages, "*.deb"))
	if err != nil {
		return err
	}
	unfinished := directory + ".unfinished"
	if err := os.RemoveAll(unfinished); err != nil {
		return err
	}
	if err := os.MkdirAll(unfinished, 0o755); err != nil {
		return err
	}
	for _, file := range files {
		if _, err := run(ctx, "", "dpkg", "--extract", file, unfinished); err != nil {
			return err
		}
	}
	return os.Rename(unfinished, directory)
}

// update fetches the package lists, unless they are there.
func (a Archive) update(ctx context.Context) error {
	lists := filepath.Join(a.home(), "lists")
	if found, _ := filepath.Glob(filepath.Join(lists, "*_Packages*")); len(found) > 0 {
		return nil
	}
	for _, directory := range []string{filepath.Join(lists, "partial"), filepath.Join(a.home(), "parts")} {
		if err := os.MkdirAll(directory, 0o755); err != nil {
			return err
		}
	}
	mirror, err := mirror("/etc/apt/sources.list.d/debian.sources", "/etc/apt/sources.list")
	if err != nil {
		return err
	}
	source := fmt.Sprintf("deb [arch=%s signed-by=%s] %s %s main\n", a.Arch, keyring, mirror, a.Suite)
	if err := os.WriteFile(filepath.Join(a.home(), "sources.list"), []byte(source), 0o644); err != nil {
		return err
	}
	_, err = a.apt(ctx, "", "update", "-qq")
	return err
}

// apt runs apt-get on this archive alone, as if nothing were installed.
func (a Archive) apt(ctx context.Context, directory string, arguments ...string) (string, error) {
	options := []string{
		"-q",
		"-o", "APT::Architecture=" + a.Arch,
		"-o", "APT::Architectures=" + a.Arch,
		"-o", "Dir::State::Lists=" + filepath.Join(a.home(), "lists"),
		"-o", "Dir::State::Status=/dev/null",
		"-o", "Dir::Etc::SourceList=" + filepath.Join(a.home(), "sources.list"),
		"-o", "Dir::Etc::SourceParts=" + filepath.Join(a.home(), "parts"),
		"-o", "Acquire::Languages=none",
		"-o", "Debug::NoLocking=1",
		// apt would hand the download to a user who cannot write here.
		"-o", "APT::Sandbox::User=",
	}
	return run(ctx, directory, "apt-get", append(options, arguments...)...)
}

// mirror returns the first address of a Debian archive in apt's own sources,
// so that this machine's settings hold here too.
func mirror(files ...string) (string, error) {
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(content)) {
			fields := strings.Fields(line)
			if len(fields) == 0 || fields[0] != "URIs:" && fields[0] != "deb" {
				continue
			}
			for _, field := range fields {
				if strings.HasPrefix(field, "http") {
					return field, nil
				}
			}
		}
	}
	return "", fmt.Errorf("no archive address in %s", strings.Join(files, " or "))
}

func run(ctx context.Context, directory, program string, arguments ...string) (string, error) {
	command := exec.CommandContext(ctx, program, arguments...)
	command.Dir = directory
	var complaints strings.Builder
	command.Stderr = &complaints
	output, err := command.Output()
	if err != nil {
		return "", fmt.Errorf("%s: %w\n%s", program, err, complaints.String())
	}
	return string(output), nil
}
