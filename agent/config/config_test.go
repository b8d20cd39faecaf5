// SPDX-License-Identifier: Apache-2.0

package config

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/alecthomas/kingpin/v2"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

var compareConfig = cmp.Options{
	cmpopts.EquateEmpty(),
	cmp.Comparer(func(a, b *regexp.Regexp) bool {
		if a == nil || b == nil {
			return a == b
		}
		return a.String() == b.String()
	}),
}

// load writes file, unless it is empty, and loads it below environ and args.
func load(t *testing.T, file string, environ, args []string) (Config, []string, error) {
	t.Helper()
	if file != "" {
		// A relative name keeps error texts the same on every machine.
		t.Chdir(t.TempDir())
		if err := os.WriteFile("sw.yaml", []byte(file), 0o600); err != nil {
			t.Fatal(err)
		}
		args = append([]string{"--config.file=sw.yaml"}, args...)
	}
	app := kingpin.New("test", "")
	flags := Register(app)
	if _, err := app.Parse(args); err != nil {
		t.Fatalf("parse %q: %v", args, err)
	}
	return Load(Sources{
		Environ:  environ,
		Flags:    flags,
		Hostname: func() (string, error) { return "host", nil },
	})
}

func TestPrecedence(t *testing.T) {
	with := func(change func(*Config)) Config {
		c := Default()
		c.NodeName = "host"
		change(&c)
		return c
	}
	tests := map[string]struct {
		file          string
		environ, args []string
		want          Config
	}{
		"nothing given": {want: with(func(*Config) {})},
		"file over default": {
			file: "sample: {interval: 2s}\n",
			want: with(func(c *Config) { c.SampleInterval = 2 * time.Second }),
		},
		"environment over file": {
			file:    "sample: {interval: 2s}\nretention: 2m\n",
			environ: []string{"SLICEWATCH_SAMPLE_INTERVAL=3s"},
			want:    with(func(c *Config) { c.SampleInterval, c.Retention = 3*time.Second, 2*time.Minute }),
		},
		"flag over environment and file": {
			file:    "sample: {interval: 2s}\n",
			environ: []string{"SLICEWATCH_SAMPLE_INTERVAL=3s"},
			args:    []string{"--sample.interval=4s"},
			want:    with(func(c *Config) { c.SampleInterval = 4 * time.Second }),
		},
		"flag set to the default over file": {
			file: "sample: {interval: 2s}\n",
			args: []string{"--sample.interval=1s"},
			want: with(func(*Config) {}),
		},
		"negated flag over environment": {
			environ: []string{"SLICEWATCH_WEB_PPROF=true"},
			args:    []string{"--no-web.pprof"},
			want:    with(func(*Config) {}),
		},
		"empty variable is absent": {
			file:    "metrics: {include: a.*}\n",
			environ: []string{"SLICEWATCH_METRICS_INCLUDE="},
			want:    with(func(c *Config) { c.Metrics.Include = regexp.MustCompile("^(?:a.*)$") }),
		},
		"empty flag takes back": {
			file: "metrics: {include: a.*}\n",
			args: []string{"--metrics.include="},
			want: with(func(*Config) {}),
		},
		"lists replace each other": {
			file:    "web: {listen-address: [\":1\", \":2\"]}\n",
			environ: []string{"SLICEWATCH_WEB_LISTEN_ADDRESS=:3,[::1]:4"},
			want:    with(func(c *Config) { c.Web.ListenAddresses = []string{":3", "[::1]:4"} }),
		},
		"list from flags": {
			args: []string{"--web.listen-address=:1", "--web.listen-address=localhost:2"},
			want: with(func(c *Config) { c.Web.ListenAddresses = []string{":1", "localhost:2"} }),
		},
		"node name from Kubernetes": {
			environ: []string{"NODE_NAME=worker-1"},
			want:    with(func(c *Config) { c.NodeName = "worker-1" }),
		},
		"node name from the flag": {
			environ: []string{"NODE_NAME=worker-1"},
			args:    []string{"--node.name=worker-2"},
			want:    with(func(c *Config) { c.NodeName = "worker-2" }),
		},
		"GOMAXPROCS is the user's": {
			environ: []string{"GOMAXPROCS=4"},
			want:    with(func(c *Config) { c.MaxProcs = 0 }),
		},
		"cgroup root is made absolute": {
			args: []string{"--cgroup.root=kubelet/"},
			want: with(func(c *Config) { c.Cgroup.Root = "/kubelet" }),
		},
		"null in a file leaves what was": {
			file: "retention:\nweb:\n",
			want: with(func(*Config) {}),
		},
		"empty file": {file: "# nothing\n", want: with(func(*Config) {})},
		"key that is the beginning of another": {
			file: "containerd: off\ncontainerd.address: /run/c.sock\n",
			want: with(func(c *Config) { c.Names.Containerd, c.Names.ContainerdAddress = "off", "/run/c.sock" }),
		},
		"empty list": {
			file: "web.auth: kubernetes\nweb.auth.audience: []\n",
			want: with(func(c *Config) { c.Web.Auth = "kubernetes" }),
		},
		"list of words": {
			environ: []string{"SLICEWATCH_WEB_AUTH_AUDIENCE=a,b"},
			args:    []string{"--web.auth.cache-time=30s", "--web.health-address=127.0.0.1:9780"},
			want: with(func(c *Config) {
				c.Web.AuthAudiences, c.Web.AuthCacheTime, c.Web.HealthAddress = []string{"a", "b"}, 30*time.Second, "127.0.0.1:9780"
			}),
		},
		"names as such": {
			file: "metrics.detail: all\n",
			want: with(func(c *Config) { c.Metrics.DetailAll = true }),
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got, warnings, err := load(t, test.file, test.environ, test.args)
			if err != nil || len(warnings) > 0 {
				t.Fatalf("Load: error %v, warnings %q", err, warnings)
			}
			if diff := cmp.Diff(test.want, got, compareConfig); diff != "" {
				t.Errorf("configuration (-want +got):\n%s", diff)
			}
		})
	}
}

func TestErrors(t *testing.T) {
	tests := map[string]struct {
		file          string
		environ, args []string
		want          string
	}{
		"flag": {
			args: []string{"--sample.interval=50ms"},
			want: "--sample.interval=50ms: must be between 100ms and 1m",
		},
		"variable": {
			environ: []string{"SLICEWATCH_SAMPLE_INTERVAL=2m"},
			want:    "SLICEWATCH_SAMPLE_INTERVAL=2m: must be between 100ms and 1m",
		},
		"line of the file": {
			file: "\nsample:\n  interval: fast\n",
			want: "sw.yaml:3: sample.interval: fast: not a duration: write a number with a unit, as in 500ms, 1s or 5m",
		},
		"all at once": {
			file:    "retention: 1s\n",
			environ: []string{"SLICEWATCH_LOG_LEVEL=loud"},
			args:    []string{"--cgroup.max-open-files=-1"},
			want: "sw.yaml:1: retention: 1s: must be between 1m and 24h\n" +
				"SLICEWATCH_LOG_LEVEL=loud: must be one of debug, info, warn, error\n" +
				"--cgroup.max-open-files=-1: must be a whole number, 0 or more",
		},
		"unknown key": {
			file: "sample:\n  intervall: 1s\n",
			want: "sw.yaml:2: unknown key sample.intervall, did you mean sample.interval?",
		},
		"unknown key unlike any": {
			file: "colour: blue\n",
			want: "sw.yaml:1: unknown key colour; slicewatch agent --help lists the settings",
		},
		"file within the file": {
			file: "config: {file: other.yaml}\n",
			want: "sw.yaml:1: unknown key config; slicewatch agent --help lists the settings",
		},
		"set twice": {
			file: "sample.interval: 1s\nsample: {interval: 1s}\n",
			want: "sw.yaml:2: sample.interval was already set in line 1; keep one",
		},
		"value where keys belong": {
			file: "sample: 1s\n",
			want: "sw.yaml:1: sample must hold keys and their values",
		},
		"no mapping at all": {
			file: "- a\n",
			want: "sw.yaml:1: the file must hold keys and their values",
		},
		"keys where a value belongs": {
			file: "retention: {for: 5m}\n",
			want: "sw.yaml:1: retention: must be a single value",
		},
		"keys where a list may be": {
			file: "web: {listen-address: {a: b}}\n",
			want: "sw.yaml:1: web.listen-address: must be a value or a list of values",
		},
		"no address": {
			file: "web: {listen-address: []}\n",
			want: "sw.yaml:1: web.listen-address: : must be one address or more",
		},
		"an empty word":  {args: []string{"--web.auth.audience="}, want: "--web.auth.audience=: must not be empty"},
		"auth":           {args: []string{"--web.auth=basic"}, want: "--web.auth=basic: must be one of none, kubernetes"},
		"health address": {args: []string{"--web.health-address=9780"}, want: "--web.health-address=9780: must be host:port, or :port for every address; IPv6 as in [::1]:9779"},
		"list of lists": {
			file: "web: {listen-address: [[\":1\"]]}\n",
			want: "sw.yaml:1: web.listen-address: must be a list of plain values",
		},
		"not YAML": {
			file: "sample: [\n",
			want: "sw.yaml: yaml: line 1: did not find expected node content",
		},
		"two documents": {
			file: "retention: 5m\n---\nretention: 6m\n",
			want: "sw.yaml: has more than one YAML document; keep one",
		},
		"no such file": {
			args: []string{"--config.file=/nonexistent/sw.yaml"},
			want: "read the configuration file: open /nonexistent/sw.yaml: no such file or directory",
		},
		"no port":       {args: []string{"--web.listen-address=9779"}, want: "--web.listen-address=9779: must be host:port, or :port for every address; IPv6 as in [::1]:9779"},
		"port too high": {args: []string{"--web.listen-address=:65536"}, want: "--web.listen-address=:65536: the port must be a number from 0 to 65535"},
		"pattern":       {args: []string{"--metrics.exclude=a("}, want: "--metrics.exclude=a(: not a regular expression in RE2 syntax: error parsing regexp: missing closing ): `a(`"},
		"pattern that leaves its parentheses": {
			args: []string{"--metrics.exclude=a)|(b"},
			want: "--metrics.exclude=a)|(b: not a regular expression in RE2 syntax: error parsing regexp: unexpected ): `a)|(b`",
		},
		"detail":  {args: []string{"--metrics.detail=more"}, want: "--metrics.detail=more: must be one of default, all"},
		"boolean": {environ: []string{"SLICEWATCH_WEB_PPROF=maybe"}, want: "SLICEWATCH_WEB_PPROF=maybe: must be true or false"},
		"path":    {args: []string{"--path.state="}, want: "--path.state=: must name a directory"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			_, _, err := load(t, test.file, test.environ, test.args)
			if err == nil {
				t.Fatal("Load found nothing wrong")
			}
			if diff := cmp.Diff(test.want, err.Error()); diff != "" {
				t.Errorf("error (-want +got):\n%s", diff)
			}
		})
	}
}

func TestHostnameFails(t *testing.T) {
	broken := errors.New("broken")
	_, _, err := Load(Sources{Hostname: func() (string, error) { return "", broken }})
	if !errors.Is(err, broken) || !strings.Contains(err.Error(), "--node.name") {
		t.Errorf("Load without a host name: %v", err)
	}
}

func TestStrayVariables(t *testing.T) {
	_, got, err := load(t, "", []string{
		"SLICEWATCH_SAMPLE_INTERVALL=1s",
		"SLICEWATCH_COLOUR_OF_THE_SKY=blue",
		"SLICEWATCH_SERVICE_HOST=10.0.0.1", "SLICEWATCH_SERVICE_PORT_HTTP=9779", "SLICEWATCH_PORT=tcp://10.0.0.1:9779",
		"SLICEWATCH_PORT_9779_TCP_ADDR=10.0.0.1", "SLICEWATCH_API_PORT_80_TCP=tcp://10.0.0.2:80",
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"environment variable SLICEWATCH_COLOUR_OF_THE_SKY has no meaning",
		"environment variable SLICEWATCH_SAMPLE_INTERVALL has no meaning, did you mean SLICEWATCH_SAMPLE_INTERVAL?",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("warnings (-want +got):\n%s", diff)
	}
}

// A setting whose variable Kubernetes sets for a Service of our name would be
// set by accident in every cluster that has one.
func TestNoVariableIsAServiceVariable(t *testing.T) {
	defaults := Default()
	for _, s := range settings(&defaults) {
		if serviceVariable(envName(s.name)) {
			t.Errorf("setting %s: the variable %s looks like a Kubernetes service variable", s.name, envName(s.name))
		}
	}
}

func TestPatternsMatchWholeNames(t *testing.T) {
	c, _, err := load(t, "", nil, []string{"--metrics.exclude=a|b"})
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]bool{"a": true, "b": true, "ab": false, "ba": false} {
		if got := c.Metrics.Exclude.MatchString(name); got != want {
			t.Errorf("a|b matches %q: %t, want %t", name, got, want)
		}
	}
}

func TestWrittenConfigurationReadsBack(t *testing.T) {
	tests := map[string][]string{
		"defaults": nil,
		"everything": {
			"--path.cgroupfs=/c", "--path.procfs=/p", "--path.state=/s", "--node.name=null", "--cgroup.root=/kubelet",
			"--cgroup.max-open-files=7", "--bpf=required", "--sample.interval=250ms", "--retention=1h30m", "--metrics.detail=all",
			"--metrics.include=a: #b", "--metrics.exclude=c|d", "--metrics.namespaces-exclude=kube-.*",
			"--web.listen-address=:1", "--web.listen-address=[::1]:2", "--web.config.file=/w.yaml", "--web.pprof",
			"--log.level=debug", "--log.format=json",
		},
	}
	for name, args := range tests {
		t.Run(name, func(t *testing.T) {
			want, _, err := load(t, "", nil, args)
			if err != nil {
				t.Fatal(err)
			}
			var written bytes.Buffer
			if err := want.WriteYAML(&written); err != nil {
				t.Fatal(err)
			}
			got, _, err := load(t, written.String(), nil, nil)
			if err != nil {
				t.Fatalf("%v in:\n%s", err, written.String())
			}
			if diff := cmp.Diff(want, got, compareConfig); diff != "" {
				t.Errorf("read back (-want +got):\n%s\nfrom:\n%s", diff, written.String())
			}
		})
	}
}

func FuzzFile(f *testing.F) {
	var defaults bytes.Buffer
	if err := Default().WriteYAML(&defaults); err != nil {
		f.Fatal(err)
	}
	f.Add(defaults.Bytes())
	f.Add([]byte("a: &x [*x]\n<<: *x\n"))
	f.Add([]byte("? {a: b}\n: c\n"))
	f.Fuzz(func(t *testing.T, content []byte) {
		c := Default()
		if err := parseFile("f", content, settings(&c)); err != nil {
			return
		}
		if c.SampleInterval < 100*time.Millisecond || c.Retention < time.Minute || len(c.Web.ListenAddresses) == 0 {
			t.Errorf("accepted %q as %+v", content, c)
		}
	})
}

func TestRegisterOnly(t *testing.T) {
	app := kingpin.New("test", "")
	Register(app, "path.state")
	var names []string
	for _, flag := range app.Model().Flags {
		if !flag.Hidden {
			names = append(names, flag.Name)
		}
	}
	if diff := cmp.Diff([]string{"help", "path.state", "config.file"}, names); diff != "" {
		t.Errorf("flags (-want +got):\n%s", diff)
	}
}

func TestWantsColor(t *testing.T) {
	for environ, want := range map[string]bool{"": true, "TERM=xterm": true, "NO_COLOR=1": false, "NO_COLOR=": true, "TERM=dumb": false} {
		if got := WantsColor([]string{environ}); got != want {
			t.Errorf("with %q: %t, want %t", environ, got, want)
		}
	}
}

// The README's table of flags is for people; this holds it to the settings.
func TestReadmeListsEverySetting(t *testing.T) {
	readme, err := os.ReadFile(filepath.Join("..", "..", "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	defaults := Default()
	names := []string{fileSetting}
	for _, s := range settings(&defaults) {
		names = append(names, s.name)
	}
	for _, name := range names {
		if !strings.Contains(string(readme), "`--"+name+"`") {
			t.Errorf("README.md does not list --%s", name)
		}
	}
	listed := regexp.MustCompile("(?m)^\\| (`--.*?) \\|").FindAllString(string(readme), -1)
	for _, flag := range regexp.MustCompile("`--([a-z.-]+)`").FindAllStringSubmatch(strings.Join(listed, "\n"), -1) {
		if !slices.Contains(names, flag[1]) {
			t.Errorf("README.md lists --%s, which is no setting", flag[1])
		}
	}
}
