// SPDX-License-Identifier: Apache-2.0

package durations

import (
	"strings"
	"testing"

	"github.com/cilium/ebpf/btf"

	"github.com/slicewatch/slicewatch/bpf"
)

// madeUp returns the description of a kernel with these types.
func madeUp(t *testing.T, types ...btf.Type) *btf.Spec {
	t.Helper()
	b, err := btf.NewBuilder(types, nil)
	if err != nil {
		t.Fatal(err)
	}
	spec, err := b.Spec()
	if err != nil {
		t.Fatal(err)
	}
	return spec
}

// Where held tasks are not queued any more, how many wait cannot be told.
func TestPeriodsNeedWaitingTasksQueued(t *testing.T) {
	pointer := &btf.Pointer{Target: (*btf.Void)(nil)}
	list := &btf.Struct{Name: "list_head", Size: 16, Members: []btf.Member{{Name: "next", Type: pointer}, {Name: "prev", Type: pointer, Offset: 64}}}
	queue := func(members ...string) *btf.Struct {
		s := &btf.Struct{Name: "cfs_rq"}
		for _, name := range members {
			s.Members = append(s.Members, btf.Member{Name: name, Type: list, Offset: btf.Bits(8 * s.Size)})
			s.Size += list.Size
		}
		return s
	}
	tests := map[string]struct {
		types []btf.Type
		want  bpf.Reason
	}{
		"as in 6.12":         {[]btf.Type{queue("leaf_cfs_rq_list", "throttled_list", "throttled_csd_list")}, ""},
		"as in 6.18":         {[]btf.Type{queue("throttled_list", "throttled_csd_list", "throttled_limbo_list")}, bpf.TooNew},
		"elsewhere":          {[]btf.Type{queue("throttled_list"), &btf.Struct{Name: "rq", Size: 16, Members: []btf.Member{{Name: "throttled_limbo_list", Type: list}}}}, ""},
		"without bandwidth":  {[]btf.Type{queue("leaf_cfs_rq_list")}, ""},
		"without the queues": {[]btf.Type{list}, ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			types := madeUp(t, test.types...)
			err := waitingQueued(types)
			if got := reasonOf(err); got != test.want || (err == nil) != (test.want == "") {
				t.Errorf("%v, want the reason %q", err, test.want)
			}
			if err != nil && (!strings.Contains(err.Error(), PeriodsName) || !strings.Contains(err.Error(), "throttled_limbo_list")) {
				t.Errorf("%v does not say what is with whom", err)
			}
			if test.want == "" {
				return
			}
			p := &Periods{}
			if opened := p.openAny(types, 1<<16); reasonOf(opened) != test.want || p.Status().Up() {
				t.Errorf("opened as %q, %v", p.Status().How, opened)
			}
		})
	}
}
