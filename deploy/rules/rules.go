// SPDX-License-Identifier: Apache-2.0

// Package rules owns the recording rules and alerts on slicewatch's metrics:
// the file slicewatch.rules.yaml, which is the one source, and the objects of
// the Prometheus and VictoriaMetrics operators that are made from it. It must
// not know how a rule is evaluated; promtool's tests beside it and
// test/prometheus do that.
package rules

import (
	"bytes"
	_ "embed"
	"fmt"
	"strings"

	"go.yaml.in/yaml/v3"
)

//go:embed slicewatch.rules.yaml
var source string

// File is a rule file as Prometheus reads it.
type File struct {
	Groups []Group `yaml:"groups"`
}

// Group is what is evaluated in order, one rule after the other.
type Group struct {
	Name  string `yaml:"name"`
	Rules []Rule `yaml:"rules"`
}

// Rule is a recording rule (Record) or an alert (Alert).
type Rule struct {
	Record      string            `yaml:"record,omitempty"`
	Alert       string            `yaml:"alert,omitempty"`
	Expr        string            `yaml:"expr"`
	For         string            `yaml:"for,omitempty"`
	Labels      map[string]string `yaml:"labels,omitempty"`
	Annotations map[string]string `yaml:"annotations,omitempty"`
}

// Source returns the rule file as it is, with its comments.
func Source() string { return source }

// Load returns the rules. A field that Prometheus does not have is an error.
func Load() (File, error) {
	var f File
	decoder := yaml.NewDecoder(strings.NewReader(source))
	decoder.KnownFields(true)
	if err := decoder.Decode(&f); err != nil {
		return File{}, fmt.Errorf("read slicewatch.rules.yaml: %w", err)
	}
	return f, nil
}

// Alerts returns the alerts of all groups.
func (f File) Alerts() []Rule {
	return f.collect(func(r Rule) bool { return r.Alert != "" })
}

// Records returns the recording rules of all groups.
func (f File) Records() []Rule {
	return f.collect(func(r Rule) bool { return r.Record != "" })
}

func (f File) collect(wanted func(Rule) bool) []Rule {
	var found []Rule
	for _, g := range f.Groups {
		for _, r := range g.Rules {
			if wanted(r) {
				found = append(found, r)
			}
		}
	}
	return found
}

// Object is a kind of Kubernetes object that holds rules in spec.groups.
type Object struct {
	File, APIVersion, Kind string
}

// Objects returns the kinds that the rules are written as, each to its file.
func Objects() []Object {
	return []Object{
		{"prometheusrule.yaml", "monitoring.coreos.com/v1", "PrometheusRule"},
		{"vmrule.yaml", "operator.victoriametrics.com/v1beta1", "VMRule"},
	}
}

const header = `# SPDX-License-Identifier: Apache-2.0
#
# Made from slicewatch.rules.yaml. Do not edit: make monitoring
apiVersion: %s
kind: %s
metadata:
  name: slicewatch
  labels:
    app.kubernetes.io/name: slicewatch
    app.kubernetes.io/component: rules
spec:
`

// Manifest returns the rules as o. It wraps the text of the source, so that its
// comments are kept.
func Manifest(o Object) ([]byte, error) {
	_, groups, ok := strings.Cut(source, "\ngroups:\n")
	if !ok {
		return nil, fmt.Errorf("write %s: slicewatch.rules.yaml has no line %q", o.File, "groups:")
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, header, o.APIVersion, o.Kind)
	for line := range strings.Lines("groups:\n" + groups) {
		if line != "\n" {
			b.WriteString("  ")
		}
		b.WriteString(line)
	}
	return b.Bytes(), nil
}
