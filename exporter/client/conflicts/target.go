// SPDX-License-Identifier: Apache-2.0

package conflicts

import (
	"slices"

	"k8s.io/apimachinery/pkg/runtime/schema"
)

// targets says whether an autoscaler's reference is to the workload: by name, kind
// and API group, as other groups have a Deployment, too. Of the owner of a pod
// the agent knows the kind alone, so that a kind of Kubernetes' own is taken for
// just that, and one that is not may be of any group. So may a reference
// without a version, which the API server takes.
func (g *group) targets(namespace, apiVersion, kind, name string) bool {
	if namespace != g.Namespace || kind != g.Kind || name != g.Name {
		return false
	}
	version, err := schema.ParseGroupVersion(apiVersion)
	own := groupsOf(kind)
	return apiVersion == "" || own == nil || err == nil && slices.Contains(own, version.Group)
}

// groupsOf returns the API groups that a kind of Kubernetes' own is or was in; nil
// for another kind.
func groupsOf(kind string) []string {
	switch kind {
	case "Deployment", "DaemonSet", "ReplicaSet":
		return []string{"apps", "extensions"}
	case "StatefulSet":
		return []string{"apps"}
	case "Job", "CronJob":
		return []string{"batch"}
	case "ReplicationController", "Pod":
		return []string{""}
	}
	return nil
}
