// SPDX-License-Identifier: Apache-2.0

// Package version says which build of slicewatch this is. It owns the rules for
// what stands in for a version that was not linked in. It must not know who
// shows it.
package version

import (
	"fmt"
	"runtime"
	"runtime/debug"
)

// Info describes a build.
type Info struct {
	Version   string // "v1.2.3", or "devel" where nothing is known
	Revision  string // the commit, "unknown" where nothing is known
	GoVersion string // "go1.26.6"
	Platform  string // "linux/arm64"
}

// Get returns the build's description. The arguments are what the linker was
// told (empty for nothing) and win over what the Go tool stamped into the
// binary, which is there only for `go install module@version` and for builds
// inside a git work tree.
func Get(linkedVersion, linkedRevision string) Info {
	build, ok := debug.ReadBuildInfo()
	if !ok {
		build = &debug.BuildInfo{}
	}
	return describe(linkedVersion, linkedRevision, build)
}

func describe(version, revision string, build *debug.BuildInfo) Info {
	if version == "" && build.Main.Version != "(devel)" {
		version = build.Main.Version
	}
	if revision == "" {
		revision = stamped(build)
	}
	if version == "" {
		version = "devel"
	}
	if revision == "" {
		revision = "unknown"
	}
	return Info{
		Version:   version,
		Revision:  revision,
		GoVersion: runtime.Version(),
		Platform:  runtime.GOOS + "/" + runtime.GOARCH,
	}
}

// stamped returns the commit that the Go tool recorded, marked where the work
// tree had changes.
func stamped(build *debug.BuildInfo) string {
	var revision, suffix string
	for _, setting := range build.Settings {
		switch {
		case setting.Key == "vcs.revision":
			revision = setting.Value
		case setting.Key == "vcs.modified" && setting.Value == "true":
			suffix = "-modified"
		}
	}
	if revision == "" {
		return ""
	}
	return revision + suffix
}

// String returns the one line that `slicewatch version` prints.
func (i Info) String() string {
	return fmt.Sprintf("slicewatch %s (revision %s, %s, %s)", i.Version, i.Revision, i.GoVersion, i.Platform)
}
