// SPDX-License-Identifier: Apache-2.0

//go:build linux

package hints

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/slicewatch/slicewatch/exporter"
)

// known are hints for the containers of testdata/workloads.yaml.
func known() []advised {
	none := amounts{-1, -1, -1, -1}
	all := amounts{0.21, 0.89, 144, 288}
	return []advised{
		{kind: "Deployment", workload: "web", container: "app", hint: all,
			want: "limits.cpu=890m limits.memory=288Mi requests.cpu=210m requests.ephemeral-storage=1Gi requests.memory=144Mi"},
		{kind: "Deployment", workload: "web", container: "proxy", hint: amounts{0.02, -1, 48, 48}, noCPULimit: true,
			want: "limits.memory=48Mi requests.cpu=20m requests.memory=48Mi"},
		{kind: "Deployment", workload: "web", container: "other", hint: none, want: "requests.cpu=10m"},
		{kind: "Deployment", workload: "bare", container: "app", hint: all, want: "limits.cpu=890m limits.memory=288Mi requests.cpu=210m requests.memory=144Mi"},
		// The API server has given it requests that are its limits.
		{kind: "Deployment", workload: "limits-only", container: "app", hint: amounts{0.8, -1, -1, 128}, want: "limits.cpu=500m limits.memory=256Mi"},
		{kind: "StatefulSet", workload: "db", container: "mongod", hint: amounts{1.5, 1.5, 1536, 1536},
			want: "limits.cpu=1500m limits.memory=1536Mi requests.cpu=1500m requests.memory=1536Mi"},
		{kind: "DaemonSet", workload: "shipper", container: "app", hint: amounts{-1, -1, 64, 4096}, want: "limits.cpu=500m limits.memory=4Gi requests.cpu=250m requests.memory=64Mi"},
		{kind: "ReplicaSet", workload: "lone", container: "app", hint: amounts{0.21, -1, 144, -1}, want: "requests.cpu=210m requests.memory=144Mi"},
		{kind: "ReplicationController", workload: "old", container: "app", hint: all, want: "limits.cpu=890m limits.memory=288Mi requests.cpu=210m requests.memory=144Mi"},
		{kind: "CronJob", workload: "report", container: "run", hint: all, want: "limits.cpu=890m limits.memory=288Mi requests.cpu=210m requests.memory=144Mi"},
		{kind: "Job", workload: "once", container: "run", hint: all, want: "requests.cpu=250m"},
		{kind: "Pod", workload: "alone", container: "app", hint: all, want: "limits.cpu=890m limits.memory=288Mi requests.cpu=210m requests.memory=144Mi"},
		{kind: "Pod", workload: "loose", container: "app", hint: amounts{0.21, -1, 144, 288}, noCPULimit: true,
			want: "limits.cpu=500m limits.memory=288Mi requests.cpu=210m requests.memory=144Mi"},
		{kind: "Pod", workload: "calm", container: "app", hint: amounts{0.3, 0.3, 320, 320}, want: "limits.cpu=300m limits.memory=320Mi requests.cpu=300m requests.memory=320Mi"},
		{kind: "Pod", workload: "strict", container: "app", hint: all, want: "limits.cpu=250m limits.memory=256Mi requests.cpu=250m requests.memory=256Mi"},
		{kind: "Pod", workload: "first-to-die", container: "app", hint: all},
	}
}

func (p *plane) workloads() {
	p.t.Helper()
	// A controller makes the service account without which no pod is taken.
	p.kubectl(`{apiVersion: v1, kind: Namespace, metadata: {name: `+namespace+`}}`, "apply", "-f", "-")
	p.eventually("have a service account", func() error {
		_, err := p.try("", "get", "serviceaccount", "default", "-n", namespace)
		return err
	})
	p.kubectl("", "apply", "--validate=strict", "-f", filepath.Join("testdata", "workloads.yaml"))
}

func (p *plane) agentOf(all []advised) string {
	p.t.Helper()
	var hints []exporter.ContainerHint
	for _, a := range all {
		hints = append(hints, p.hintOf(a, strings.ToLower(a.workload)+"-0"))
	}
	return agent(p.t, func() []exporter.ContainerHint { return hints }).URL
}

var (
	// command is the line by which a patch says how it is applied.
	command = regexp.MustCompile(`(?m)^#   kubectl (.*) --patch-file=FILE$`)
	refusal = regexp.MustCompile(`(?m)^# (\S+) shop/(\S+): no patch: (.*)$`)
)

// TestPatches applies every patch by the command that it names, first without
// effect and then really, and reads back what the workloads have.
func TestPatches(t *testing.T) {
	p := start(t)
	p.workloads()
	all := known()
	output, _ := p.hints("--url="+p.agentOf(all), "-o", "patch")
	applied := 0
	for _, document := range strings.Split(output, "---\n")[1:] {
		found := command.FindStringSubmatch(document)
		if found == nil {
			t.Fatalf("a patch that does not say how to apply it:\n%s", document)
		}
		file := filepath.Join(t.TempDir(), "patch.yaml")
		if err := os.WriteFile(file, []byte(document), 0o600); err != nil {
			t.Fatal(err)
		}
		arguments := append(strings.Fields(found[1]), "--patch-file="+file)
		p.kubectl("", append(arguments, "--dry-run=server")...)
		p.kubectl("", arguments...)
		applied++
	}
	for _, a := range all {
		spec := p.template(a.kind, a.workload)
		got := "no such container"
		for _, c := range append(spec.InitContainers, spec.Containers...) {
			if c.Name == a.container {
				got = spell(c.Resources)
			}
		}
		if diff := cmp.Diff(a.want, got); diff != "" {
			t.Errorf("%s %s %s (-want +got):\n%s", a.kind, a.workload, a.container, diff)
		}
	}
	// Every workload that was given a patch got one, every other a reason.
	refused := map[string]string{}
	for _, one := range refusal.FindAllStringSubmatch(output, -1) {
		refused[one[1]+" "+one[2]] = one[3]
	}
	if len(refused) != 4 || applied != 10 {
		t.Errorf("%d patches and these refusals: %v\n%s", applied, refused, output)
	}
	p.refusalsAreTrue(t)
}

// refusalsAreTrue holds what is said instead of a patch: the API server refuses
// one for Jobs, and a resize to another QoS class or without a limit.
func (p *plane) refusalsAreTrue(t *testing.T) {
	resources := `[{"name": %q, "resources": {"requests": {"cpu": "210m"}, "limits": {"cpu": "890m"}}}]`
	if _, err := p.try("", "patch", "-n", namespace, "job", "once", "--dry-run=server", "-p",
		fmt.Sprintf(`{"spec": {"template": {"spec": {"containers": `+resources+`}}}}`, "run")); err == nil || !strings.Contains(err.Error(), "field is immutable") {
		t.Errorf("patch a Job: %v", err)
	}
	pod := fmt.Sprintf(`{"spec": {"containers": `+resources+`}}`, "app")
	if _, err := p.try("", "patch", "-n", namespace, "pod", "loose", "--dry-run=server", "-p", pod); err == nil {
		t.Error("the API server takes a patch of a pod's resources that is no resize")
	}
	for _, name := range []string{"strict", "first-to-die"} {
		if _, err := p.try("", "patch", "-n", namespace, "pod", name, "--subresource=resize", "--dry-run=server", "-p", pod); err == nil || !strings.Contains(err.Error(), "QOS Class may not change") {
			t.Errorf("resize %s: %v", name, err)
		}
	}
	gone := `{"spec": {"containers": [{"name": "app", "resources": {"limits": {"cpu": null}}}]}}`
	if _, err := p.try("", "patch", "-n", namespace, "pod", "loose", "--subresource=resize", "--dry-run=server", "-p", gone); err == nil {
		t.Error("the API server lets a resize take a limit away")
	}
}

// TestVPAs applies every VerticalPodAutoscaler, each field of it known.
func TestVPAs(t *testing.T) {
	p := start(t)
	p.workloads()
	p.installVPA()
	output, _ := p.hints("--url="+p.agentOf(known()), "-o", "vpa")
	for _, mode := range []string{"--dry-run=server", "--dry-run=none"} {
		p.kubectl(output, "apply", "--server-side", "--validate=strict", mode, "-f", "-")
	}
	got := p.kubectl("", "get", "vpa", "-n", namespace, "-o", `jsonpath={range .items[*]}{.spec.targetRef.apiVersion} {.spec.targetRef.kind} {.metadata.name} {.spec.updatePolicy.updateMode}{"\n"}{end}`)
	want := `apps/v1 Deployment bare Off
apps/v1 ReplicaSet lone Off
v1 ReplicationController old Off
`
	for line := range strings.Lines(want) {
		if !strings.Contains(got, line) {
			t.Errorf("no %q in\n%s", line, got)
		}
	}
	// Each target exists under the API version that is given.
	for line := range strings.Lines(got) {
		field := strings.Fields(line)
		group, version, ok := strings.Cut(field[0], "/")
		resource := strings.ToLower(field[1])
		if ok {
			resource += "." + version + "." + group
		}
		p.kubectl("", "get", "-n", namespace, resource, field[2])
	}
	if strings.Count(got, "\n") != 9 {
		t.Errorf("9 VerticalPodAutoscalers are wanted:\n%s", got)
	}
}
