// SPDX-License-Identifier: Apache-2.0

package client

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/slicewatch/slicewatch/exporter"
	"github.com/slicewatch/slicewatch/exporter/client/conflicts"
)

type vpa struct {
	APIVersion string  `yaml:"apiVersion"`
	Kind       string  `yaml:"kind"`
	Metadata   vpaMeta `yaml:"metadata"`
	Spec       any     `yaml:"spec"`
}

type vpaMeta struct {
	Name      string `yaml:"name"`
	Namespace string `yaml:"namespace"`
}

type vpaSpec struct {
	TargetRef      vpaTarget   `yaml:"targetRef"`
	UpdatePolicy   vpaUpdate   `yaml:"updatePolicy"`
	ResourcePolicy vpaResource `yaml:"resourcePolicy"`
}

type vpaTarget struct {
	APIVersion string `yaml:"apiVersion"`
	Kind       string `yaml:"kind"`
	Name       string `yaml:"name"`
}

type vpaUpdate struct {
	UpdateMode string `yaml:"updateMode"`
}

type vpaResource struct {
	ContainerPolicies []vpaContainer `yaml:"containerPolicies"`
}

type vpaContainer struct {
	ContainerName       string            `yaml:"containerName"`
	ControlledResources []string          `yaml:"controlledResources,omitempty"`
	MinAllowed          map[string]string `yaml:"minAllowed,omitempty"`
	MaxAllowed          map[string]string `yaml:"maxAllowed,omitempty"`
}

// apiVersion returns the API version of a kind that a VerticalPodAutoscaler may
// target, else nothing.
func apiVersion(kind string) string {
	switch kind {
	case "Deployment", "StatefulSet", "DaemonSet", "ReplicaSet":
		return "apps/v1"
	case "ReplicationController":
		return "v1"
	case "CronJob", "Job":
		return "batch/v1"
	}
	return ""
}

// writeVPAs prints a VerticalPodAutoscaler for each workload that may have one.
// It only recommends until somebody changes its updateMode: requests between the
// hinted request and limit. One that is there already stays as it is but for these
// bounds, and a resource that a HorizontalPodAutoscaler scales by is left to that.
func writeVPAs(w io.Writer, list *exporter.HintList, found conflicts.Findings) error {
	var b strings.Builder
	for _, one := range workloads(list) {
		v, why, err := vpaOf(&one, found)
		if err != nil {
			return err
		}
		if why != "" {
			fmt.Fprintf(&b, "# %s %s/%s: none: %s\n", printable(one.kind), printable(one.namespace), printable(one.name), printable(why))
			continue
		}
		text, err := yamlOf(v)
		if err != nil {
			return err
		}
		b.WriteString("---\n" + one.comments() + text)
	}
	return printAll(w, b.String())
}

// vpaOf returns the VerticalPodAutoscaler of a workload, or why there is none.
func vpaOf(one *workload, found conflicts.Findings) (v vpa, why string, err error) {
	v = vpa{APIVersion: "autoscaling.k8s.io/v1", Kind: "VerticalPodAutoscaler", Metadata: vpaMeta{Name: one.name, Namespace: one.namespace}}
	version := apiVersion(one.kind)
	there, isThere := found.Vertical(one.key())
	known := slices.ContainsFunc(one.containers, func(h exporter.ContainerHint) bool { return h.Hint != exporter.Resources{} })
	switch {
	case version == "" && !isThere:
		return v, "a VerticalPodAutoscaler cannot target it", nil
	case found.Scaled(one.key(), "cpu") && found.Scaled(one.key(), "memory"):
		return v, "a HorizontalPodAutoscaler scales it by CPU and by memory", nil
	case !known:
		return v, "too little is known yet", nil
	case isThere:
		v.Metadata.Name = there.Name
		spec, ok := found.Bounded(there, one.containers)
		if !ok {
			return v, "VerticalPodAutoscaler " + there.Name + " sets nothing that there are hints for", nil
		}
		v.Spec, err = plain(spec)
		return v, "", err
	}
	spec := vpaSpec{TargetRef: vpaTarget{APIVersion: version, Kind: one.kind, Name: one.name}, UpdatePolicy: vpaUpdate{UpdateMode: "Off"}}
	for i := range one.containers {
		if c := vpaPolicy(&one.containers[i], one.key(), found); len(c.MinAllowed)+len(c.MaxAllowed) > 0 {
			spec.ResourcePolicy.ContainerPolicies = append(spec.ResourcePolicy.ContainerPolicies, c)
		}
	}
	if len(spec.ResourcePolicy.ContainerPolicies) == 0 {
		return v, "too little is known yet", nil
	}
	v.Spec = spec
	return v, "", nil
}

// plain turns what has a JSON form into what YAML prints in that form.
func plain(v any) (any, error) {
	raw, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("print the hints: %w", err)
	}
	var out any
	if err := yaml.Unmarshal(raw, &out); err != nil { // JSON is YAML, and so its whole numbers stay whole
		return nil, fmt.Errorf("print the hints: %w", err)
	}
	return out, nil
}

func vpaPolicy(h *exporter.ContainerHint, of conflicts.Workload, found conflicts.Findings) vpaContainer {
	c := vpaContainer{ContainerName: h.Container, MinAllowed: map[string]string{}, MaxAllowed: map[string]string{}}
	var left []string
	set := func(name string, request, limit *float64, spell func(float64) string) {
		if found.Scaled(of, name) {
			return // both would work against each other
		}
		left = append(left, name)
		if request != nil {
			c.MinAllowed[name] = spell(*request)
		}
		if limit != nil {
			c.MaxAllowed[name] = spell(*limit)
		}
	}
	set("cpu", h.Hint.CPURequestCores, h.Hint.CPULimitCores, conflicts.SpellCores)
	set("memory", h.Hint.MemoryRequestBytes, h.Hint.MemoryLimitBytes, conflicts.SpellBytes)
	if len(left) == 1 {
		c.ControlledResources = left
	}
	return c
}
