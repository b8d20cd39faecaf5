// SPDX-License-Identifier: Apache-2.0

//go:build linux

package hints

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/slicewatch/slicewatch/agent/identity/kubelet"
	"github.com/slicewatch/slicewatch/exporter"
	"github.com/slicewatch/slicewatch/test/kubernetes/cluster"
)

const (
	dryRunEnv = "SLICEWATCH_DRYRUN"
	namespace = "shop"
	vpaModule = "k8s.io/autoscaler/vertical-pod-autoscaler"
)

// plane is a control plane without nodes, with the programs that a user has.
type plane struct {
	*cluster.Cluster
	t                   *testing.T
	kubectlProgram, cli string
}

// start starts a control plane of its own, with controllers: quotas are counted
// by one, and pods made by others.
func start(t *testing.T) *plane {
	t.Helper()
	if os.Getenv(dryRunEnv) == "" {
		t.Skipf("needs a kube-apiserver, which takes minutes to build at the first use: make hints-dryrun, or set %s=1", dryRunEnv)
	}
	config := cluster.Config{Directory: t.TempDir(), WithoutNode: true, Log: slog.New(slog.NewTextHandler(os.Stderr, nil))}
	t.Cleanup(func() {
		if err := cluster.Down(context.WithoutCancel(t.Context()), config); err != nil {
			t.Errorf("stop the control plane: %v", err)
		}
	})
	c, err := cluster.Up(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	p := &plane{Cluster: c, t: t, kubectlProgram: c.Plane.Programs["kubectl"], cli: filepath.Join(t.TempDir(), "slicewatch")}
	if err := cluster.BuildOwn(t.Context(), runtime.GOARCH, "cmd/slicewatch", p.cli); err != nil {
		t.Fatal(err)
	}
	return p
}

// run runs a program and returns its output and its complaints.
func run(t *testing.T, program string, input []byte, arguments ...string) (output, complaints string, err error) {
	t.Helper()
	command := exec.CommandContext(t.Context(), program, arguments...)
	var out, bad bytes.Buffer
	command.Stdin, command.Stdout, command.Stderr = bytes.NewReader(input), &out, &bad
	if err = command.Run(); err != nil {
		err = fmt.Errorf("%s %s: %w\n%s", filepath.Base(program), strings.Join(arguments, " "), err, bad.String())
	}
	return out.String(), bad.String(), err
}

func (p *plane) try(input string, arguments ...string) (string, error) {
	output, _, err := run(p.t, p.kubectlProgram, []byte(input), append([]string{"--kubeconfig=" + p.Plane.Kubeconfig()}, arguments...)...)
	return output, err
}

func (p *plane) kubectl(input string, arguments ...string) string {
	p.t.Helper()
	output, err := p.try(input, arguments...)
	if err != nil {
		p.t.Fatal(err)
	}
	return output
}

// hints runs slicewatch hints as the administrator.
func (p *plane) hints(arguments ...string) (output, complaints string) {
	p.t.Helper()
	output, complaints, err := run(p.t, p.cli, nil, append([]string{"hints"}, arguments...)...)
	if err != nil {
		p.t.Fatal(err)
	}
	return output, complaints
}

// installVPA installs the definition that VPA's own release has.
func (p *plane) installVPA() {
	p.t.Helper()
	output, err := exec.CommandContext(p.t.Context(), "go", "list", "-m", "-f", "{{.Dir}}", vpaModule).Output()
	if err != nil {
		p.t.Fatalf("find %s: %v", vpaModule, err)
	}
	definition := filepath.Join(strings.TrimSpace(string(output)), "deploy", "vpa-v1-crd-gen.yaml")
	p.kubectl("", "apply", "--server-side", "-f", definition)
	p.kubectl("", "wait", "--for=condition=Established", "--timeout=60s", "crd", "--all")
}

// eventually tries until there is no error, for what controllers do.
func (p *plane) eventually(what string, try func() error) {
	p.t.Helper()
	err := try()
	for giveUp := time.Now().Add(2 * time.Minute); err != nil && time.Now().Before(giveUp); err = try() {
		time.Sleep(200 * time.Millisecond)
	}
	if err != nil {
		p.t.Fatalf("%s: %v", what, err)
	}
}

// template returns the pod template of a workload, or the pod itself.
func (p *plane) template(kind, name string) corev1.PodSpec {
	p.t.Helper()
	var object struct {
		Spec struct {
			Template    *corev1.PodTemplateSpec
			JobTemplate *struct {
				Spec struct{ Template corev1.PodTemplateSpec }
			}
			corev1.PodSpec `json:",inline"`
		}
	}
	if err := json.Unmarshal([]byte(p.kubectl("", "get", "-n", namespace, kind, name, "-o", "json")), &object); err != nil {
		p.t.Fatal(err)
	}
	switch {
	case object.Spec.JobTemplate != nil:
		return object.Spec.JobTemplate.Spec.Template.Spec
	case object.Spec.Template != nil:
		return object.Spec.Template.Spec
	}
	return object.Spec.PodSpec
}

// spell shows a container's resources.
func spell(r corev1.ResourceRequirements) string {
	var all []string
	for word, list := range map[string]corev1.ResourceList{"requests": r.Requests, "limits": r.Limits} {
		for name, q := range list {
			all = append(all, fmt.Sprintf("%s.%s=%s", word, name, q.String()))
		}
	}
	slices.Sort(all)
	return strings.Join(all, " ")
}

// amounts are CPU request and limit in cores, memory request and limit in Mi;
// those below 0 are not there.
type amounts [4]float64

func (a amounts) resources() exporter.Resources {
	var r exporter.Resources
	for i, to := range []**float64{&r.CPURequestCores, &r.CPULimitCores, &r.MemoryRequestBytes, &r.MemoryLimitBytes} {
		switch {
		case a[i] < 0:
		case i < 2:
			*to = new(a[i])
		default:
			*to = new(a[i] * (1 << 20))
		}
	}
	return r
}

// now returns what a container has set, as an agent tells it of a pod: without a
// request the API server gives a pod that of its limit.
func now(r corev1.ResourceRequirements) exporter.Resources {
	a := amounts{-1, -1, -1, -1}
	for i, list := range []corev1.ResourceList{r.Requests, r.Limits} {
		if q, ok := list[corev1.ResourceCPU]; ok {
			a[i] = q.AsApproximateFloat64()
		}
		if q, ok := list[corev1.ResourceMemory]; ok {
			a[2+i] = q.AsApproximateFloat64() / (1 << 20)
		}
	}
	for _, i := range []int{0, 2} {
		if a[i] < 0 {
			a[i] = a[i+1]
		}
	}
	return a.resources()
}

// advised is the hint of a container, and what its template has when the patch is
// applied.
type advised struct {
	kind, workload, container string
	hint                      amounts
	noCPULimit                bool
	want                      string
}

// hintOf makes the hint that an agent would answer with.
func (p *plane) hintOf(a advised, pod string) exporter.ContainerHint {
	p.t.Helper()
	published := time.Now()
	h := exporter.ContainerHint{
		Namespace: namespace, Pod: pod, Container: a.container, Type: "app", WorkloadKind: a.kind, Workload: a.workload,
		Hint: a.hint.resources(), NoCPULimit: a.noCPULimit, Policy: "burstable", Confidence: 0.8, Published: &published, Reasons: []exporter.HintReason{},
	}
	spec := p.template(a.kind, a.workload)
	h.QoS = strings.ToLower(string(kubelet.QoS(&corev1.Pod{Spec: spec})))
	for _, c := range spec.InitContainers {
		if c.Name == a.container {
			h.Type, h.Now = "sidecar", now(c.Resources)
		}
	}
	for _, c := range spec.Containers {
		if c.Name == a.container {
			h.Now = now(c.Resources)
		}
	}
	return h
}
