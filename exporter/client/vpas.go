// SPDX-License-Identifier: Apache-2.0

package client

import (
	"fmt"
	"io"
	"strings"

	"github.com/slicewatch/slicewatch/exporter"
	"github.com/slicewatch/slicewatch/exporter/client/conflicts"
)

type vpa struct {
	APIVersion string  `yaml:"apiVersion"`
	Kind       string  `yaml:"kind"`
	Metadata   vpaMeta `yaml:"metadata"`
	Spec       vpaSpec `yaml:"spec"`
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
// hinted request and limit. One that is there already keeps its name and its
// mode, and a resource that a HorizontalPodAutoscaler scales by is left to that.
func writeVPAs(w io.Writer, list *exporter.HintList, found conflicts.Findings) error {
	var b strings.Builder
	for _, one := range workloads(list) {
		version := apiVersion(one.kind)
		v := vpa{APIVersion: "autoscaling.k8s.io/v1", Kind: "VerticalPodAutoscaler", Metadata: vpaMeta{Name: one.name, Namespace: one.namespace}}
		v.Spec.TargetRef = vpaTarget{APIVersion: version, Kind: one.kind, Name: one.name}
		v.Spec.UpdatePolicy.UpdateMode = "Off"
		if there, ok := found.Vertical(one.key()); ok {
			v.Metadata.Name, v.Spec.UpdatePolicy.UpdateMode = there.Name, there.Mode
		}
		for i := range one.containers {
			if c := vpaPolicy(&one.containers[i], one.key(), found); len(c.MinAllowed)+len(c.MaxAllowed) > 0 {
				v.Spec.ResourcePolicy.ContainerPolicies = append(v.Spec.ResourcePolicy.ContainerPolicies, c)
			}
		}
		switch {
		case version == "":
			fmt.Fprintf(&b, "# %s %s/%s: none: a VerticalPodAutoscaler cannot target it\n", printable(one.kind), printable(one.namespace), printable(one.name))
			continue
		case found.Scaled(one.key(), "cpu") && found.Scaled(one.key(), "memory"):
			fmt.Fprintf(&b, "# %s %s/%s: none: a HorizontalPodAutoscaler scales it by CPU and by memory\n", printable(one.kind), printable(one.namespace), printable(one.name))
			continue
		case len(v.Spec.ResourcePolicy.ContainerPolicies) == 0:
			fmt.Fprintf(&b, "# %s %s/%s: none: too little is known yet\n", printable(one.kind), printable(one.namespace), printable(one.name))
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
	set("cpu", h.Hint.CPURequestCores, h.Hint.CPULimitCores, spellCores)
	set("memory", h.Hint.MemoryRequestBytes, h.Hint.MemoryLimitBytes, spellBytes)
	if len(left) == 1 {
		c.ControlledResources = left
	}
	return c
}
