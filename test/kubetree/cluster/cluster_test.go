// SPDX-License-Identifier: Apache-2.0

package cluster_test

import (
	"regexp"
	"strings"
	"testing"

	"github.com/slicewatch/slicewatch/test/kubetree/cluster"
)

func TestUIDsAreUniqueAndInTheLegend(t *testing.T) {
	valid := regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`)
	legend := cluster.Legend()
	seen := map[string]bool{}
	for _, r := range cluster.Roles() {
		if !valid.MatchString(r.Pod.UID) || seen[r.Pod.UID] {
			t.Errorf("%s has UID %q, want one of its own that is a version 4 UUID", r.Pod.Name, r.Pod.UID)
		}
		seen[r.Pod.UID] = true
		if !strings.Contains(legend, r.Pod.UID) || !strings.Contains(legend, r.Plays) {
			t.Errorf("%s is not in the legend", r.Pod.Name)
		}
	}
	for _, n := range []int{0, 1, 12345} {
		if uid := cluster.Visitor(n).UID; !valid.MatchString(uid) || seen[uid] {
			t.Errorf("visitor %d has UID %q, want one of its own that is a version 4 UUID", n, uid)
		}
	}
}
