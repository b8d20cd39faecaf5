// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/slicewatch/slicewatch/exporter"
	"github.com/slicewatch/slicewatch/exporter/client"
)

// apiServer answers lists as a kube-apiserver does, and stands for the agents
// behind its proxy.
type apiServer struct {
	*httptest.Server
	lists  map[string]string // path -> items
	denied []string          // parts of paths
	status map[string]int    // path -> answer
	agents map[string]string // proxied path -> body

	mu    sync.Mutex
	asked []string
}

func newAPIServer(t *testing.T) *apiServer {
	a := &apiServer{lists: map[string]string{}, status: map[string]int{}, agents: map[string]string{}}
	a.Server = httptest.NewServer(http.HandlerFunc(a.serve))
	t.Cleanup(a.Close)
	return a
}

func (a *apiServer) serve(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	a.asked = append(a.asked, r.URL.RequestURI())
	a.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	refuse := func(code int32, reason metav1.StatusReason) {
		w.WriteHeader(int(code))
		_ = json.NewEncoder(w).Encode(metav1.Status{
			TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}, Status: metav1.StatusFailure, Code: code, Reason: reason, Message: "refused",
		})
	}
	if status := a.status[r.URL.Path]; status != 0 {
		http.Error(w, "not by the API server", status)
		return
	}
	if slices.ContainsFunc(a.denied, func(part string) bool { return strings.Contains(r.URL.Path, part) }) {
		refuse(http.StatusForbidden, metav1.StatusReasonForbidden)
		return
	}
	for parameter := range r.URL.Query() {
		if strings.Contains(r.URL.Path, "/proxy/") && parameter != "namespace" { // as the agents do
			w.WriteHeader(http.StatusBadRequest)
			fmt.Fprintf(w, `{"error":"there is no parameter \"%s\""}`, parameter)
			return
		}
	}
	if body, ok := a.agents[r.URL.Path]; ok {
		fmt.Fprint(w, body)
		return
	}
	items, ok := a.lists[r.URL.Path]
	if !ok && !strings.HasPrefix(r.URL.Path, "/api/v1/") && !strings.HasPrefix(r.URL.Path, "/apis/autoscaling/") || strings.Contains(r.URL.Path, "/proxy") {
		refuse(http.StatusNotFound, metav1.StatusReasonNotFound)
		return
	}
	// Pages of one.
	all := strings.Split(items, "\n")
	page, next := 0, ""
	if at := r.URL.Query().Get("continue"); at != "" {
		fmt.Sscan(at, &page)
	}
	switch {
	case r.URL.Query().Get("limit") != "" && page+1 < len(all):
		items, next = all[page], fmt.Sprint(page+1)
	case page > 0:
		items = all[page]
	default:
		items = strings.Join(all, ",")
	}
	fmt.Fprintf(w, `{"metadata":{"continue":%q},"items":[%s]}`, next, items)
}

func (a *apiServer) connect(t *testing.T) *Cluster {
	t.Helper()
	path := filepath.Join(t.TempDir(), "kubeconfig")
	content := `{apiVersion: v1, kind: Config, clusters: [{name: c, cluster: {server: "` + a.URL + `"}}], users: [{name: u, user: {token: mine}}],
contexts: [{name: there, context: {cluster: c, user: u}}]}`
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := Connect(Config{Kubeconfig: path, Context: "there"})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

const (
	quotaItem = `{"metadata":{"name":"team","namespace":"shop"},"spec":{"hard":{"limits.cpu":"3"}}}`
	podItem   = `{"metadata":{"name":"web-7d5f9c-%s","namespace":"shop","labels":{"pod-template-hash":"7d5f9c"},
		"ownerReferences":[{"controller":true,"kind":"ReplicaSet","name":"web-7d5f9c"}]},"spec":{"containers":[{"name":"app"}]}}`
)

func TestObjects(t *testing.T) {
	a := newAPIServer(t)
	oneLine := strings.ReplaceAll(podItem, "\n", " ")
	maps.Copy(a.lists, map[string]string{
		"/apis/autoscaling/v2/namespaces/shop/horizontalpodautoscalers":      `{"metadata":{"name":"web","namespace":"shop"}}`,
		"/apis/autoscaling/v2/namespaces/other/horizontalpodautoscalers":     `{"metadata":{"name":"api","namespace":"other"}}`,
		"/apis/autoscaling.k8s.io/v1/namespaces/shop/verticalpodautoscalers": `{"metadata":{"name":"web","namespace":"shop"}}`,
		"/api/v1/namespaces/shop/resourcequotas":                             quotaItem,
		"/api/v1/namespaces/shop/limitranges":                                `{"metadata":{"name":"team","namespace":"shop"}}`,
		"/api/v1/namespaces/shop/pods":                                       fmt.Sprintf(oneLine, "a") + "\n" + fmt.Sprintf(oneLine, "b"),
	})
	found, missing, err := a.connect(t).Objects(t.Context(), []string{"shop", "other"})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, o := range found.HPAs {
		got = append(got, "hpa "+o.Namespace+"/"+o.Name)
	}
	for _, o := range found.VPAs {
		got = append(got, "vpa "+o.Namespace+"/"+o.Name)
	}
	for _, o := range found.LimitRanges {
		got = append(got, "limit range "+o.Name)
	}
	for _, o := range found.Quotas {
		hard := o.Spec.Hard["limits.cpu"]
		got = append(got, "quota "+o.Name+" "+hard.String())
	}
	for _, p := range found.Pods {
		got = append(got, fmt.Sprint("pod ", p.Name, " of ", p.Workload))
	}
	want := []string{
		"hpa other/api", "hpa shop/web", "vpa shop/web", "limit range team", "quota team 3",
		"pod web-7d5f9c-a of {shop Deployment web}", "pod web-7d5f9c-b of {shop Deployment web}",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("objects (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"shop"}, found.PodsKnown); diff != "" || len(missing) > 0 {
		t.Errorf("pods known (-want +got):\n%s\nmissing: %v", diff, missing)
	}
}

// A cluster without VPA's definition and a user with few rights both get hints.
func TestObjectsDoesWithout(t *testing.T) {
	a := newAPIServer(t)
	a.denied = []string{"horizontalpodautoscalers", "/namespaces/other/limitranges", "/pods"}
	a.lists["/api/v1/namespaces/shop/resourcequotas"] = quotaItem
	found, missing, err := a.connect(t).Objects(t.Context(), []string{"shop", "other"})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, m := range missing {
		got = append(got, m.String())
	}
	want := []string{
		`no right to list horizontalpodautoscalers in other, shop: what a hint does to an autoscaler is not told. The rule for it: {apiGroups: ["autoscaling"], resources: ["horizontalpodautoscalers"], verbs: ["list"]}`,
		`no right to list limitranges in other: hints are not capped by them. The rule for it: {apiGroups: [""], resources: ["limitranges"], verbs: ["list"]}`,
		`no right to list pods in shop: quotas are held only against the pods of the agents that were asked. The rule for it: {apiGroups: [""], resources: ["pods"], verbs: ["list"]}`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("missing (-want +got):\n%s", diff)
	}
	if len(found.Quotas) != 1 || len(found.PodsKnown) != 0 {
		t.Errorf("got %d quotas and pods of %v", len(found.Quotas), found.PodsKnown)
	}
}

func TestObjectsFails(t *testing.T) {
	a := newAPIServer(t)
	a.status["/api/v1/namespaces/shop/limitranges"] = http.StatusUnauthorized
	if _, _, err := a.connect(t).Objects(t.Context(), []string{"shop"}); err == nil || !strings.Contains(err.Error(), "log in anew") {
		t.Errorf("unauthorized: %v", err)
	}
	c := a.connect(t)
	a.Close()
	if _, _, err := c.Objects(t.Context(), []string{"shop"}); err == nil || !strings.Contains(err.Error(), "nothing listens at "+a.URL) {
		t.Errorf("no API server: %v", err)
	}
}

func agentPod(name, node, extra string) string {
	return fmt.Sprintf(`{"metadata":{"name":%q,"namespace":"monitoring"},"spec":{"nodeName":%q%s},"status":{"phase":"Running"}}`, name, node, extra)
}

func answer(t *testing.T, at time.Time, pod string) string {
	t.Helper()
	raw, err := json.Marshal(exporter.HintList{Time: at, Hints: []exporter.ContainerHint{{Namespace: "shop", Pod: pod, Container: "app"}}})
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

// TestHints asks three agents: one on another port and with TLS, one that is not
// ready.
func TestHints(t *testing.T) {
	a := newAPIServer(t)
	at := time.Date(2027, 1, 11, 12, 0, 0, 0, time.UTC)
	a.lists["/api/v1/pods"] = strings.Join([]string{
		agentPod("sw-a", "node-a", ""), agentPod("sw-c", "node-c", ""),
		agentPod("sw-b", "node-b", `,"containers":[{"name":"agent","ports":[{"name":"health","containerPort":1},{"name":"metrics","containerPort":8443}]}]`),
		strings.ReplaceAll(agentPod("sw-d", "node-d", ""), "Running", "Pending"),
	}, "\n")
	const proxied = "/api/v1/namespaces/monitoring/pods/%s/proxy/api/v1/hints"
	a.agents[fmt.Sprintf(proxied, "http:sw-a:9779")] = answer(t, at, "web-a")
	a.status[fmt.Sprintf(proxied, "http:sw-b:8443")] = http.StatusBadRequest // speaks TLS
	a.agents[fmt.Sprintf(proxied, "https:sw-b:8443")] = answer(t, at.Add(-time.Second), "web-b")
	a.status[fmt.Sprintf(proxied, "http:sw-c:9779")] = http.StatusServiceUnavailable
	list, failed, err := a.connect(t).Hints(t.Context(), Agents{Selector: Selector}, client.HintQuery{Namespace: "shop"})
	if err != nil {
		t.Fatal(err)
	}
	var pods []string
	for i := range list.Hints {
		pods = append(pods, list.Hints[i].Pod)
	}
	if diff := cmp.Diff([]string{"web-a", "web-b"}, pods); diff != "" || !list.Time.Equal(at.Add(-time.Second)) {
		t.Errorf("at %v (-want +got):\n%s", list.Time, diff)
	}
	if len(failed) != 1 || !strings.Contains(failed[0].Error(), "agent sw-c on node-c") {
		t.Errorf("failed: %v", failed)
	}
	if asked := strings.Join(a.asked, "\n"); !strings.Contains(asked, "proxy/api/v1/hints?namespace=shop") || strings.Contains(asked, "sw-d") {
		t.Errorf("asked:\n%s", asked)
	}
}

// A right that is missing is told once for each namespace.
func TestHintsWithoutRights(t *testing.T) {
	a := newAPIServer(t)
	in := func(namespace, name string) string {
		return strings.ReplaceAll(agentPod(name, "node-"+name, ""), "monitoring", namespace)
	}
	a.lists["/api/v1/pods"] = strings.Join([]string{in("one", "a"), in("one", "b"), in("two", "c"), in("two", "d"), in("three", "e")}, "\n")
	a.denied = []string{"/namespaces/one/pods/http", "/namespaces/two/pods/http"}
	a.agents["/api/v1/namespaces/three/pods/http:e:9779/proxy/api/v1/hints"] = answer(t, time.Now(), "web-e")
	list, failed, err := a.connect(t).Hints(t.Context(), Agents{Selector: Selector}, client.HintQuery{})
	if err != nil || len(list.Hints) != 1 {
		t.Fatalf("got %v, %v", list, err)
	}
	if len(failed) != 2 || !strings.Contains(failed[0].Error(), "pods/proxy in one") || !strings.Contains(failed[1].Error(), "pods/proxy in two") {
		t.Errorf("failed: %v", failed)
	}
}

func TestHintsFails(t *testing.T) {
	const proxied = "/api/v1/namespaces/monitoring/pods/http:sw-a:9779/proxy/api/v1/hints"
	for name, test := range map[string]struct {
		spoil func(*apiServer)
		in    string
		want  string
	}{
		"no agent":               {func(a *apiServer) { delete(a.lists, "/api/v1/pods") }, "", "no agent runs in any namespace with the labels app.kubernetes.io/name=slicewatch"},
		"no right to find":       {func(a *apiServer) { a.denied = []string{"/pods"} }, "", "--agent-namespace says where the agents are"},
		"no right to find there": {func(a *apiServer) { a.denied = []string{"/pods"} }, "monitoring", `{apiGroups: [""], resources: ["pods"], verbs: ["list"]}`},
		"no right to ask":        {func(a *apiServer) { a.denied = []string{"/proxy/"} }, "", `{apiGroups: [""], resources: ["pods/proxy"], verbs: ["get"]}`},
		"the agent wants to know who asks": {
			func(a *apiServer) { a.status[proxied] = http.StatusUnauthorized }, "", "ask by --url and --token-file",
		},
		"the agent says what is wrong": {func(a *apiServer) { a.status[proxied] = http.StatusTeapot }, "", "not by the API server"},
		"an older agent":               {func(a *apiServer) { a.status[proxied] = http.StatusNotFound }, "", "it is an older slicewatch"},
		"a pod that has gone":          {func(*apiServer) {}, "", "agent sw-a on node-a has just gone"},
		"the agent refuses":            {func(a *apiServer) { a.status[proxied] = http.StatusForbidden }, "", "not by the API server"},
		"not a slicewatch":             {func(a *apiServer) { a.agents[proxied] = "<html>" }, "", "does not answer as slicewatch does"},
	} {
		t.Run(name, func(t *testing.T) {
			a := newAPIServer(t)
			a.lists["/api/v1/pods"] = agentPod("sw-a", "node-a", "")
			test.spoil(a)
			_, _, err := a.connect(t).Hints(t.Context(), Agents{Namespace: test.in, Selector: Selector}, client.HintQuery{})
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %q in it", err, test.want)
			}
		})
	}
}

func TestConnectFails(t *testing.T) {
	broken := filepath.Join(t.TempDir(), "kubeconfig")
	if err := os.WriteFile(broken, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("KUBECONFIG", filepath.Join(t.TempDir(), "none"))
	t.Setenv("HOME", t.TempDir())
	t.Setenv("KUBERNETES_SERVICE_HOST", "")
	for name, test := range map[string]struct {
		cfg  Config
		want string
	}{
		"none":            {Config{}, "name one by --kubeconfig or $KUBECONFIG"},
		"not there":       {Config{Kubeconfig: "/nosuch"}, "/nosuch: no such file"},
		"not readable":    {Config{Kubeconfig: broken}, "correct it, --kubeconfig or --context"},
		"no such context": {Config{Context: "there"}, `context "there" does not exist`},
	} {
		if _, err := Connect(test.cfg); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v, want %q in it", name, err, test.want)
		}
	}
}
