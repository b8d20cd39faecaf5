// SPDX-License-Identifier: Apache-2.0

package client

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/slicewatch/slicewatch/exporter"
	"github.com/slicewatch/slicewatch/exporter/client/conflicts"
)

// workload is what a patch is for: all hints of its containers put together,
// which several pods may have.
type workload struct {
	namespace, kind, name string
	containers            []exporter.ContainerHint // one of each name
	confidence            float64
	notes                 []note // what the cluster has against the hints, or took from them
}

// note is a sentence about containers of a workload.
type note struct {
	containers []string
	text       string
}

// workloads puts the hints of a sorted list together. Of several pods of a
// workload the one that needs most decides.
func workloads(list *exporter.HintList) []workload {
	var all []workload
	for _, h := range list.Hints {
		key := conflicts.WorkloadOf(&h)
		if n := len(all); n == 0 || all[n-1].key() != key {
			all = append(all, workload{namespace: key.Namespace, kind: key.Kind, name: key.Name, confidence: 1})
		}
		all[len(all)-1].add(h)
	}
	for i := range all {
		for j := range all[i].containers {
			raiseLimits(&all[i].containers[j].Hint)
		}
	}
	return all
}

// raiseLimits brings together the request of one pod and the limit of another that
// is below it: one of them was to have no limit.
func raiseLimits(r *exporter.Resources) {
	for _, pair := range [][2]**float64{{&r.CPURequestCores, &r.CPULimitCores}, {&r.MemoryRequestBytes, &r.MemoryLimitBytes}} {
		if request, limit := *pair[0], *pair[1]; request != nil && limit != nil && *request > *limit {
			*pair[1] = request
		}
	}
}

func (w *workload) key() conflicts.Workload {
	return conflicts.Workload{Namespace: w.namespace, Kind: w.kind, Name: w.name}
}

func (w *workload) add(h exporter.ContainerHint) {
	if h.Published == nil {
		return // nothing to say
	}
	w.note(&h)
	w.confidence = min(w.confidence, h.Confidence)
	for i := range w.containers {
		c := &w.containers[i]
		if c.Container != h.Container {
			continue
		}
		c.NoCPULimit = c.NoCPULimit && h.NoCPULimit
		for _, pair := range [][2]**float64{
			{&c.Hint.CPURequestCores, &h.Hint.CPURequestCores}, {&c.Hint.CPULimitCores, &h.Hint.CPULimitCores},
			{&c.Hint.MemoryRequestBytes, &h.Hint.MemoryRequestBytes}, {&c.Hint.MemoryLimitBytes, &h.Hint.MemoryLimitBytes},
		} {
			if *pair[0] == nil || *pair[1] != nil && **pair[1] > **pair[0] {
				*pair[0] = *pair[1]
			}
		}
		return
	}
	w.containers = append(w.containers, h)
}

// note keeps the reasons that come from the cluster: who applies a patch should
// have read them.
func (w *workload) note(h *exporter.ContainerHint) {
	for i := range h.Reasons {
		r := &h.Reasons[i]
		if !conflicts.Owns(r) {
			continue
		}
		at := slices.IndexFunc(w.notes, func(n note) bool { return n.text == r.Text })
		if at < 0 {
			at = len(w.notes)
			w.notes = append(w.notes, note{text: r.Text})
		}
		if n := &w.notes[at]; !slices.Contains(n.containers, h.Container) {
			n.containers = append(n.containers, h.Container)
		}
	}
}

// comments returns the notes as lines of a YAML document.
func (w *workload) comments() string {
	var b strings.Builder
	for _, n := range w.notes {
		b.WriteString("# " + printable(strings.Join(n.containers, ", ")+": "+n.text) + "\n")
	}
	return b.String()
}

// patchable says where the pod template of a kind is, as keys below each other,
// none for a pod itself; or why no strategic merge patch changes it.
func (w *workload) patchable() (template []string, why string) {
	switch w.kind {
	case "Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "ReplicationController":
		return []string{"spec", "template"}, ""
	case "CronJob":
		return []string{"spec", "jobTemplate", "spec", "template"}, ""
	case "Job":
		return nil, "the pod template of a Job cannot be changed: write it into whatever makes the Job"
	case pod:
		return nil, w.resizable()
	case "StaticPod":
		return nil, "a static pod is changed in its manifest on the node"
	}
	return nil, "the kind is not Kubernetes' own: kubectl takes no strategic merge patch for it"
}

type containerPatch struct {
	Name      string         `yaml:"name"`
	Resources resourcesPatch `yaml:"resources"`
}

// resourcesPatch has amounts as Kubernetes spells them; nil takes one away.
type resourcesPatch struct {
	Requests map[string]*string `yaml:"requests,omitempty"`
	Limits   map[string]*string `yaml:"limits,omitempty"`
}

func (p *resourcesPatch) empty() bool { return len(p.Requests) == 0 && len(p.Limits) == 0 }

// resources turns a hint into a patch that leaves no request above its limit.
func resources(h *exporter.ContainerHint) resourcesPatch {
	p := resourcesPatch{Requests: map[string]*string{}, Limits: map[string]*string{}}
	set := func(name string, request, limit, requestNow, limitNow *float64, remove bool, spell func(float64) string) {
		switch {
		case limit == nil && !remove && request != nil && limitNow != nil && *request > *limitNow:
			return // the limit that stays would be below it
		case request == nil && limit != nil && requestNow != nil && *requestNow > *limit:
			return
		}
		if request != nil {
			text := spell(*request)
			p.Requests[name] = &text
		}
		switch {
		case limit != nil:
			text := spell(*limit)
			p.Limits[name] = &text
		case remove && limitNow != nil:
			p.Limits[name] = nil
		}
	}
	set("cpu", h.Hint.CPURequestCores, h.Hint.CPULimitCores, h.Now.CPURequestCores, h.Now.CPULimitCores, h.NoCPULimit, conflicts.SpellCores)
	set("memory", h.Hint.MemoryRequestBytes, h.Hint.MemoryLimitBytes, h.Now.MemoryRequestBytes, h.Now.MemoryLimitBytes, false, conflicts.SpellBytes)
	return p
}

// writePatches prints a strategic merge patch for each workload, as one YAML
// document each.
func writePatches(w io.Writer, list *exporter.HintList) error {
	var b strings.Builder
	for _, one := range workloads(list) {
		template, why := one.patchable()
		patch := one.template(template)
		switch {
		case why != "":
			fmt.Fprintf(&b, "# %s %s/%s: no patch: %s\n", printable(one.kind), printable(one.namespace), printable(one.name), why)
			continue
		case patch == nil:
			fmt.Fprintf(&b, "# %s %s/%s: no patch: too little is known yet\n", printable(one.kind), printable(one.namespace), printable(one.name))
			continue
		}
		text, err := yamlOf(patch)
		if err != nil {
			return err
		}
		fmt.Fprintf(&b, "---\n# %s %s/%s, confidence %.2f; apply it with\n#   kubectl patch -n %s %s %s %s--patch-file=FILE\n%s%s",
			printable(one.kind), printable(one.namespace), printable(one.name), one.confidence,
			printable(one.namespace), strings.ToLower(printable(one.kind)), printable(one.name), one.subresource(), one.comments(), text)
	}
	return printAll(w, b.String())
}

// pod is the kind of pods without a controller.
const pod = "Pod"

// subresource returns the flag by which kubectl patches what the kind allows.
func (w *workload) subresource() string {
	if w.kind == pod {
		return "--subresource=resize "
	}
	return ""
}

// template returns the patch below the given keys, nil if there is nothing in it.
func (w *workload) template(keys []string) any {
	spec := map[string][]containerPatch{}
	for i := range w.containers {
		c := &w.containers[i]
		if w.kind == pod {
			c = new(keepLimits(*c))
		}
		if p := resources(c); !p.empty() {
			key := "containers"
			if c.Type == sidecar {
				key = "initContainers"
			}
			spec[key] = append(spec[key], containerPatch{Name: c.Container, Resources: p})
		}
	}
	if len(spec) == 0 {
		return nil
	}
	var patch any = map[string]any{"spec": spec}
	for _, key := range slices.Backward(keys) {
		patch = map[string]any{key: patch}
	}
	return patch
}

func yamlOf(v any) (string, error) {
	var b strings.Builder
	encoder := yaml.NewEncoder(&b)
	encoder.SetIndent(2)
	if err := encoder.Encode(v); err != nil {
		return "", fmt.Errorf("print the hints: %w", err)
	}
	return b.String(), nil
}

func printAll(w io.Writer, text string) error {
	if text == "" {
		text = "# no hints\n"
	}
	if _, err := io.WriteString(w, text); err != nil {
		return fmt.Errorf("print the hints: %w", err)
	}
	return nil
}
