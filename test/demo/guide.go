// SPDX-License-Identifier: Apache-2.0

package main

import (
	"strings"

	"github.com/slicewatch/slicewatch/test/kubetree/cluster"
)

// podOf returns the UID of the pod of that name.
func podOf(name string) string {
	for _, role := range cluster.Roles() {
		if role.Pod.Name == name {
			return role.Pod.UID
		}
	}
	return ""
}

// apiPod is the pod that is throttled.
func apiPod() string { return podOf("api") }

// prefix is what is enough of a UID to find it.
func prefix(name string) string {
	word, _, _ := strings.Cut(podOf(name), "-")
	return word
}

// guide is what to look at.
func guide(url string) string {
	curl := "curl -s " + url + "/metrics | grep "
	return "\n" + cluster.Legend() + `
Without Kubernetes there are no names: the label pod is the UID above.

The page:     ` + url + `/
The metrics:  ` + url + `/metrics

Throttled at bursts although its average CPU is under its limit (API server):
  ` + curl + `-E 'slicewatch_container_cpu_(throttled_periods|periods|usage_seconds)_?.*` + prefix("api") + `'
Nearly at its memory limit (search index):
  ` + curl + `-E 'slicewatch_container_memory_(working_set|limit)_bytes.*` + prefix("search") + `'
OOM kills, which outlive the killed container (the leaky one, killed every half a minute):
  ` + curl + `-E 'slicewatch_(oom_kills_total|container_starts_total|container_memory_events_total.*oom).*` + prefix("leaky") + `'

The machine is emulated: its processor is 10 to 30 times slower than a real one.
`
}
