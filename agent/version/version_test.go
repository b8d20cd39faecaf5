// SPDX-License-Identifier: Apache-2.0

package version

import (
	"runtime"
	"runtime/debug"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestDescribe(t *testing.T) {
	stamps := []debug.BuildSetting{{Key: "vcs.revision", Value: "abc"}, {Key: "vcs.modified", Value: "true"}}
	tests := map[string]struct {
		version, revision string
		build             debug.BuildInfo
		wantVersion       string
		wantRevision      string
	}{
		"nothing known": {build: debug.BuildInfo{Main: debug.Module{Version: "(devel)"}}, wantVersion: "devel", wantRevision: "unknown"},
		"stamped":       {build: debug.BuildInfo{Main: debug.Module{Version: "v1.0.0"}, Settings: stamps}, wantVersion: "v1.0.0", wantRevision: "abc-modified"},
		"linked":        {version: "v2", revision: "def", build: debug.BuildInfo{Main: debug.Module{Version: "v1.0.0"}, Settings: stamps}, wantVersion: "v2", wantRevision: "def"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			want := Info{test.wantVersion, test.wantRevision, runtime.Version(), runtime.GOOS + "/" + runtime.GOARCH}
			if diff := cmp.Diff(want, describe(test.version, test.revision, &test.build)); diff != "" {
				t.Errorf("info (-want +got):\n%s", diff)
			}
		})
	}
}

func TestGetKnowsThePlatform(t *testing.T) {
	got := Get("v9", "123").String()
	want := "slicewatch v9 (revision 123, " + runtime.Version() + ", " + runtime.GOOS + "/" + runtime.GOARCH + ")"
	if got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
