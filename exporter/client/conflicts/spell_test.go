// SPDX-License-Identifier: Apache-2.0

package conflicts

import (
	"testing"

	apiresource "k8s.io/apimachinery/pkg/api/resource"
	"pgregory.net/rapid"
)

func TestSpelling(t *testing.T) {
	memory := resources()[1]
	for _, test := range [][2]string{
		{SpellCores(0.21), "210m"}, {SpellCores(2), "2"}, {SpellCores(0.01), "10m"}, {SpellCores(-0.3), "-300m"}, {SpellCores(0), "0"},
		{SpellBytes(144 * mi), "144Mi"}, {SpellBytes(1024 * mi), "1Gi"}, {SpellBytes(1040 * mi), "1040Mi"}, {SpellBytes(-512 * mi), "-512Mi"},
		{SpellBytes(100), "100"}, {SpellBytes(100.5), "101"}, {SpellBytes(0), "0"}, {SpellBytes(100e6), "100M"}, {SpellBytes(262144e3), "250Mi"},
		{memory.near(204.8 * mi), "205Mi"}, {memory.near(100e6), "100M"}, {memory.near(1.5*mi + 0.3), "1536Ki"}, {resources()[0].near(0.147), "147m"},
	} {
		if test[0] != test[1] {
			t.Errorf("got %s, want %s", test[0], test[1])
		}
	}
}

// What is spelled is what Kubernetes reads, to the byte.
func TestSpellingIsExact(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.Int64Range(0, 4096).Draw(t, "n") * rapid.SampledFrom([]int64{1, 1000, 1 << 10, 1e6, 1 << 20, 1e9, 1 << 30}).Draw(t, "unit")
		if q, err := apiresource.ParseQuantity(SpellBytes(float64(n))); err != nil || q.Value() != n {
			t.Fatalf("%d bytes are spelled %s, which reads %d: %v", n, SpellBytes(float64(n)), q.Value(), err)
		}
		if q, err := apiresource.ParseQuantity(SpellCores(float64(n) / 1000)); err != nil || q.MilliValue() != n {
			t.Fatalf("%dm are spelled %s, which reads %dm: %v", n, SpellCores(float64(n)/1000), q.MilliValue(), err)
		}
	})
}
