// SPDX-License-Identifier: Apache-2.0

//go:build linux

package hints

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/slicewatch/slicewatch/exporter"
)

// besides are hints that the objects of testdata/cluster.yaml have something
// against.
func besides() []advised {
	return []advised{
		{kind: "Deployment", workload: "web", container: "app", hint: amounts{0.21, 0.89, 144, 288}},
		{kind: "Deployment", workload: "web", container: "proxy", hint: amounts{0.02, -1, 48, 48}, noCPULimit: true},
		{kind: "Deployment", workload: "web", container: "other", hint: amounts{0.06, 0.1, 32, 64}},
		{kind: "StatefulSet", workload: "db", container: "mongod", hint: amounts{0.7, 0.7, 5120, 5120}},
	}
}

// TestCluster holds what --cluster says against what the API server does.
func TestCluster(t *testing.T) {
	p := start(t)
	p.installVPA()
	p.kubectl("", "create", "namespace", "monitoring")
	p.workloads()
	// Before there is a quota: one pod of web has a container without limits.
	p.eventually("make the pods", func() error {
		if pods := strings.Fields(p.kubectl("", "get", "pods", "-n", namespace, "-l", "app in (web, db)", "-o", "name")); len(pods) != 3 {
			return fmt.Errorf("there are %v", pods)
		}
		return nil
	})
	p.kubectl("", "apply", "--validate=strict", "-f", filepath.Join("testdata", "cluster.yaml"))
	p.eventually("count the quota", func() error {
		if used := p.kubectl("", "get", "quota", "team", "-n", namespace, "-o", `jsonpath={.status.used.limits\.memory}`); used == "" || used == "0" {
			return fmt.Errorf("used is %q", used)
		}
		return nil
	})
	p.agents(besides())
	admin := "--kubeconfig=" + p.Plane.Kubeconfig()

	t.Run("as administrator", func(t *testing.T) {
		output, complaints := p.hints("--cluster", admin, "-o", "json")
		if complaints != "" {
			t.Errorf("complaints: %s", complaints)
		}
		p.holdsAmounts(t, output)
	})
	t.Run("the API server agrees", func(t *testing.T) {
		plain, _ := p.hints("--url="+p.agentOf(besides()), "-o", "patch")
		capped, _ := p.hints("--cluster", admin, "-o", "patch")
		p.podsOfPatches(t, plain, capped)
	})
	t.Run("the VPA that is there", func(t *testing.T) {
		output, _ := p.hints("--cluster", admin, "-o", "vpa")
		p.kubectl(output, "apply", "--server-side", "--force-conflicts", "--validate=strict", "-f", "-")
		got := p.kubectl("", "get", "vpa", "-n", namespace, "-o", `jsonpath={range .items[*]}{.metadata.name} {.spec.updatePolicy.updateMode} {.spec.updatePolicy.minReplicas} {range .spec.resourcePolicy.containerPolicies[*]}{.containerName} {.controlledResources}{.controlledValues},{end}{"\n"}{end}`)
		want := "db-vpa Initial 3 * RequestsOnly,mongod RequestsOnly,\nweb Off  app [\"memory\"],other [\"memory\"],proxy [\"memory\"],\n"
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("VPAs (-want +got):\n%s\n%s", diff, output)
		}
	})
	t.Run("with few rights", func(t *testing.T) { p.withFewRights(t) })
}

// agents makes the pods of two agents and their network: each answers with some
// of the hints.
func (p *plane) agents(all []advised) {
	p.t.Helper()
	var first, second []exporter.ContainerHint
	for _, a := range all {
		h := p.hintOf(a, a.workload+"-0")
		if a.workload == "web" {
			first = append(first, h)
		} else {
			second = append(second, h)
		}
	}
	p.network(map[string]*httptest.Server{
		"10.244.0.5:9779": agent(p.t, func() []exporter.ContainerHint { return first }),
		"10.244.1.5:8000": agent(p.t, func() []exporter.ContainerHint { return second }),
	})
	for i, port := range []int{9779, 8000} {
		node := fmt.Sprintf("node-%d", i)
		p.kubectl(fmt.Sprintf(`{apiVersion: v1, kind: Node, metadata: {name: %s}}`, node), "create", "-f", "-")
		p.eventually("make an agent's pod", func() error {
			_, err := p.try(fmt.Sprintf(`{apiVersion: v1, kind: Pod, metadata: {name: slicewatch-%d, namespace: monitoring, labels: {app.kubernetes.io/name: slicewatch, app.kubernetes.io/component: agent}},
  spec: {nodeName: %s, tolerations: [{operator: Exists}], containers: [{name: agent, image: none, ports: [{name: metrics, containerPort: %d}]}]}}`, i, node, port), "create", "-f", "-")
			return err
		})
		p.kubectl("", "patch", "pod", fmt.Sprintf("slicewatch-%d", i), "-n", "monitoring", "--subresource=status", "--type=merge", "-p",
			fmt.Sprintf(`{"status": {"phase": "Running", "podIP": "10.244.%d.5", "podIPs": [{"ip": "10.244.%d.5"}]}}`, i, i))
	}
}

// holdsAmounts holds what becomes of the hints.
func (p *plane) holdsAmounts(t *testing.T, output string) {
	t.Helper()
	var list exporter.HintList
	if err := json.Unmarshal([]byte(output), &list); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, h := range list.Hints {
		line := h.Container
		for _, v := range []*float64{h.Hint.CPURequestCores, h.Hint.CPULimitCores} {
			if v != nil {
				line += fmt.Sprintf(" %g", *v)
			}
		}
		var codes []string
		for _, r := range h.Reasons {
			codes = append(codes, r.Code)
			t.Logf("%s: %s", r.Code, r.Text)
		}
		got = append(got, line+" "+strings.Join(codes, ","))
	}
	want := []string{
		"app 0.21 0.8 cpu_limit_range,cpu_hpa",
		"other 0.06 0.1 memory_quota",
		"proxy 0.05 0.2 cpu_limit_range,cpu_limit_range,cpu_limit_range",
		"mongod 0.7 0.7 memory_limit_range,cpu_vpa,memory_vpa,memory_quota",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("hints (-want +got):\n%s", diff)
	}
}

// target is in a patch, quoted in what the API server says.
var (
	target = regexp.MustCompile(`kubectl patch -n shop (\S+) (\S+) --patch-file`)
	quoted = regexp.MustCompile(`exceeded quota: team, requested: limits.memory=\S+, used: limits.memory=\S+, limited: limits.memory=\S+`)
)

// podsOfPatches makes a pod of each patched template, which the API server judges:
// those of plain patches are refused by the LimitRange, those of capped ones are
// not, but by the quota that --cluster names.
func (p *plane) podsOfPatches(t *testing.T, plain, capped string) {
	t.Helper()
	refusals := func(output string) map[string]string {
		all := map[string]string{}
		for _, document := range strings.Split(output, "---\n")[1:] {
			found := target.FindStringSubmatch(document)
			file := filepath.Join(t.TempDir(), "patch.yaml")
			if err := os.WriteFile(file, []byte(document), 0o600); err != nil {
				t.Fatal(err)
			}
			var object struct {
				Spec struct {
					Template struct{ Spec json.RawMessage }
				}
			}
			patched := p.kubectl("", "patch", "-n", namespace, found[1], found[2], "--patch-file="+file, "--dry-run=server", "-o", "json")
			if err := json.Unmarshal([]byte(patched), &object); err != nil {
				t.Fatal(err)
			}
			pod := fmt.Sprintf(`{"apiVersion": "v1", "kind": "Pod", "metadata": {"generateName": "try-", "namespace": %q}, "spec": %s}`, namespace, object.Spec.Template.Spec)
			if _, err := p.try(pod, "create", "--dry-run=server", "-f", "-"); err != nil {
				all[found[2]] = err.Error()
			} else {
				all[found[2]] = ""
			}
		}
		return all
	}
	before, after := refusals(plain), refusals(capped)
	for _, want := range []string{"maximum cpu usage per Container is 800m, but limit is 890m", "minimum cpu usage per Container is 50m, but request is 20m"} {
		if !strings.Contains(before["web"], want) {
			t.Errorf("a pod of web before: %q, want %q in it", before["web"], want)
		}
	}
	if after["web"] != "" {
		t.Errorf("a pod of web with capped amounts is refused: %s", after["web"])
	}
	if !strings.Contains(before["db"], "maximum memory usage per Container is 4Gi, but limit is 5Gi") || !quoted.MatchString(after["db"]) {
		t.Errorf("a pod of db: before %q, after %q: want the LimitRange, then the quota", before["db"], after["db"])
	}
	t.Logf("quota: %s", quoted.FindString(after["db"]))
}

// rules are those of docs/hints.md.
var rules = regexp.MustCompile("(?s)```yaml\n(rules:.*?)```")

// withFewRights asks as somebody who may only find and ask the agents, and then
// gives the rights that the documentation names.
func (p *plane) withFewRights(t *testing.T) {
	t.Helper()
	p.kubectl("", "create", "serviceaccount", "someone", "-n", namespace)
	token := strings.TrimSpace(p.kubectl("", "create", "token", "someone", "-n", namespace))
	config := p.kubectl("", "config", "view", "--raw", "--minify", "-o", `jsonpath={.clusters[0].cluster}`)
	path := filepath.Join(t.TempDir(), "kubeconfig")
	content := fmt.Sprintf(`{apiVersion: v1, kind: Config, clusters: [{name: c, cluster: %s}], users: [{name: u, user: {token: %s}}], contexts: [{name: someone, context: {cluster: c, user: u}}]}`, config, token)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	ask := func() (string, string, error) {
		return run(t, p.cli, nil, "hints", "--cluster", "--kubeconfig="+path, "--context=someone", "--agent-namespace=monitoring", "-o", "json")
	}
	grant := func(name, rules string) {
		p.kubectl(fmt.Sprintf("apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata: {name: %s}\n%s", name, rules), "create", "-f", "-")
		p.kubectl("", "create", "clusterrolebinding", name, "--clusterrole="+name, "--serviceaccount="+namespace+":someone")
	}
	if _, _, err := ask(); err == nil || !strings.Contains(err.Error(), `{apiGroups: [""], resources: ["pods"], verbs: ["list"]}`) {
		t.Errorf("without any right: %v", err)
	}
	grant("finds", `rules: [{apiGroups: [""], resources: [pods], verbs: [list]}]`)
	p.eventually("be refused to ask", func() error {
		if _, _, err := ask(); err == nil || !strings.Contains(err.Error(), `{apiGroups: [""], resources: ["pods/proxy"], verbs: ["get"]}`) {
			return fmt.Errorf("got %w", errors.Join(err, errors.New("want a missing rule for pods/proxy")))
		}
		return nil
	})
	grant("asks", `rules: [{apiGroups: [""], resources: [pods/proxy], verbs: [get]}]`)
	p.eventually("see what is missing", func() error {
		_, complaints, err := ask()
		if err != nil || strings.Count(complaints, "no right to list") != 4 {
			return fmt.Errorf("%w: want four rights to be missing:\n%s", err, complaints)
		}
		return nil
	})
	text, err := os.ReadFile(filepath.Join("..", "..", "..", "docs", "hints.md"))
	if err != nil {
		t.Fatal(err)
	}
	documented := rules.FindSubmatch(text)
	if documented == nil {
		t.Fatal("docs/hints.md has no rules")
	}
	grant("documented", string(documented[1]))
	p.eventually("miss nothing", func() error {
		output, complaints, err := ask()
		if err != nil || complaints != "" {
			return fmt.Errorf("%w %s", err, complaints)
		}
		p.holdsAmounts(t, output)
		return nil
	})
}
