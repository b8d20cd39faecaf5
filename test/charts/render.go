// SPDX-License-Identifier: Apache-2.0

package charts

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"

	"helm.sh/helm/v4/pkg/chart/common"
	"helm.sh/helm/v4/pkg/chart/common/util"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	"helm.sh/helm/v4/pkg/engine"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"
)

const (
	chartDir   = "../../deploy/helm/slicewatch"
	valuesDir  = "../../deploy/helm/values"
	overlayDir = "../../deploy/kustomize/overlays"
)

// object is a Kubernetes object as YAML has it.
type object = map[string]any

// operators are the kinds that the operators' CRDs bring.
var operators = []string{
	"monitoring.coreos.com/v1/PodMonitor", "monitoring.coreos.com/v1/ServiceMonitor", "monitoring.coreos.com/v1/PrometheusRule",
	"operator.victoriametrics.com/v1beta1/VMPodScrape", "operator.victoriametrics.com/v1beta1/VMRule",
}

// release renders the chart as release slicewatch in namespace slicewatch, for
// a cluster that has the kinds of apis besides Kubernetes' own. The tests of
// the release are left out.
func release(values object, apis ...string) (objects []object, notes string, err error) {
	chart, err := loader.Load(chartDir)
	if err != nil {
		return nil, "", fmt.Errorf("load the chart: %w", err)
	}
	capabilities := common.DefaultCapabilities.Copy()
	capabilities.APIVersions = append(capabilities.APIVersions, apis...)
	options := common.ReleaseOptions{Name: "slicewatch", Namespace: "slicewatch", IsInstall: true}
	merged, err := util.ToRenderValues(chart, values, options, capabilities)
	if err != nil {
		return nil, "", err
	}
	rendered, err := engine.Render(chart, merged)
	if err != nil {
		return nil, "", err
	}
	for _, name := range sortedKeys(rendered) {
		switch {
		case strings.HasSuffix(name, "NOTES.txt"):
			notes = rendered[name]
		case strings.HasSuffix(name, ".yaml") && !strings.Contains(name, "/tests/"):
			parsed, err := parse([]byte(rendered[name]))
			if err != nil {
				return nil, "", fmt.Errorf("parse what %s became: %w\n%s", name, err, rendered[name])
			}
			objects = append(objects, parsed...)
		}
	}
	return objects, notes, nil
}

// valuesFile reads one of deploy/helm/values.
func valuesFile(name string) (object, error) {
	content, err := os.ReadFile(filepath.Join(valuesDir, name+".yaml"))
	if err != nil {
		return nil, err
	}
	var values object
	return values, yaml.UnmarshalStrict(content, &values)
}

// overlay builds a kustomization.
func overlay(path string) ([]object, error) {
	built, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), path)
	if err != nil {
		return nil, fmt.Errorf("build %s: %w", path, err)
	}
	text, err := built.AsYaml()
	if err != nil {
		return nil, err
	}
	return parse(text)
}

func parse(text []byte) ([]object, error) {
	var objects []object
	for document := range strings.SplitSeq("\n"+string(text), "\n---") {
		var o object
		if err := yaml.UnmarshalStrict([]byte(document), &o); err != nil {
			return nil, err
		}
		if o != nil {
			objects = append(objects, o)
		}
	}
	return objects, nil
}

// byName maps "Kind name" to what the chart and the overlays must agree on:
// everything but the labels that only releases have, and form without meaning.
func byName(objects []object) map[string]object {
	named := make(map[string]object, len(objects))
	for _, o := range objects {
		metadata, _ := o["metadata"].(object)
		named[fmt.Sprint(o["kind"], " ", metadata["name"])] = normal(o).(object)
	}
	return named
}

// releaseLabels are on what Helm installs alone.
var releaseLabels = []string{
	"app.kubernetes.io/instance", "app.kubernetes.io/managed-by", "app.kubernetes.io/version", "helm.sh/chart",
}

func normal(value any) any {
	switch value := value.(type) {
	case object:
		clean := make(object, len(value))
		for name, v := range value {
			if slices.Contains(releaseLabels, name) {
				continue
			}
			clean[name] = normal(v)
			if args, ok := clean[name].([]any); ok && name == "args" {
				sort.Slice(args, func(i, j int) bool { return fmt.Sprint(args[i]) < fmt.Sprint(args[j]) })
			}
		}
		return clean
	case []any:
		clean := make([]any, len(value))
		for i, v := range value {
			clean[i] = normal(v)
		}
		return clean
	case string:
		// Dashboards are compared by what they say, images without the tag that
		// the chart gives them.
		var parsed object
		if json.Unmarshal([]byte(value), &parsed) == nil {
			return parsed
		}
		return strings.TrimSuffix(value, ":devel")
	}
	return value
}

func sortedKeys[V any](m map[string]V) []string {
	names := make([]string, 0, len(m))
	for name := range m {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
