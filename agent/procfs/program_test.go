// SPDX-License-Identifier: Apache-2.0

package procfs

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/slicewatch/slicewatch/agent/snapshot"
)

func TestParseProgram(t *testing.T) {
	tests := map[string]struct {
		arguments string // a space stands for NUL
		want      snapshot.Runtime
	}{
		"empty":               {"", snapshot.Runtime{}},
		"unknown":             {"/app/server --password hunter2", snapshot.Runtime{}},
		"node":                {"/usr/local/bin/node --max-old-space-size=384 app.js ", snapshot.Runtime{Kind: snapshot.RuntimeNodeJS, Setting: "--max-old-space-size=384"}},
		"node without":        {"node app.js --token=secret", snapshot.Runtime{Kind: snapshot.RuntimeNodeJS}},
		"last one counts":     {"node --max-old-space-size=384 --max-old-space-size 512", snapshot.Runtime{Kind: snapshot.RuntimeNodeJS, Setting: "--max-old-space-size 512"}},
		"java":                {"java -Xms1g -Xmx2g -jar app.jar", snapshot.Runtime{Kind: snapshot.RuntimeJVM, Setting: "-Xmx2g"}},
		"java share":          {"java -XX:MaxRAMPercentage=60.0 -jar app.jar", snapshot.Runtime{Kind: snapshot.RuntimeJVM, Setting: "-XX:MaxRAMPercentage=60.0"}},
		"mongod":              {"mongod --bind_ip_all --wiredTigerCacheSizeGB 1.5", snapshot.Runtime{Kind: snapshot.RuntimeMongoDB, Setting: "--wiredTigerCacheSizeGB 1.5"}},
		"flag without value":  {"mongod --wiredTigerCacheSizeGB", snapshot.Runtime{Kind: snapshot.RuntimeMongoDB, Setting: "--wiredTigerCacheSizeGB "}},
		"longer flag is none": {"redis-server --maxmemory-policy allkeys-lru", snapshot.Runtime{Kind: snapshot.RuntimeRedis}},
		"go":                  {"/bin/prometheus --config.file=x", snapshot.Runtime{Kind: snapshot.RuntimeGo}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got := parseProgram([]byte(strings.ReplaceAll(test.arguments, " ", "\x00")))
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
	if got := parseProgram([]byte("redis-server *:6379\x00")); got.Kind != snapshot.RuntimeRedis {
		t.Errorf("a title is not recognised: %+v", got)
	}
}

func FuzzParseProgram(f *testing.F) {
	f.Add([]byte("node\x00--max-old-space-size\x00512\x00"))
	f.Add([]byte("redis-server *:6379\x00"))
	f.Fuzz(func(t *testing.T, content []byte) {
		if got := parseProgram(content); len(got.Setting) > maxSetting {
			t.Errorf("kept %d bytes of a command line", len(got.Setting))
		}
	})
}
