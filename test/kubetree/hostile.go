// SPDX-License-Identifier: Apache-2.0

package kubetree

import (
	"path/filepath"
	"strings"
)

// AddHostile makes cgroups with names below dir, which must be kubepods or
// below it, that a reader must survive and must not take for pods or
// containers, and returns their paths. It makes one of each kind: the longest
// name there can be, no UTF-8, terminal and HTML escapes, and names that are
// nearly a pod's or a container's. The kernel itself refuses line feeds in
// names (kernel/cgroup/cgroup.c, cgroup_mkdir).
func (t *Tree) AddHostile(dir string) ([]string, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	id := ContainerID(t.spec.Seed, "hostile", filepath.Base(dir), 0)
	var made []string
	for _, name := range []string{
		strings.Repeat("x", 255),
		strings.Repeat("\u00e9", 127),
		"\xff\xfe\x80.slice",
		"\x1b[31mred\x07\r\t",
		`"><script>alert(1)<`,
		`quote" back\slash {brace}`,
		"kubepods-burstable-pod.slice",
		"pod",
		"pod..",
		"podnot a uid",
		"kubepods-pod" + strings.Repeat("0", 200) + ".slice",
		"cri-containerd-.scope",
		"cri-containerd-" + id[:63] + ".scope",
		"crio-conmon-" + id + ".scope",
		strings.ToUpper(id),
		"memory.current.scope",
		" ",
	} {
		path := filepath.Join(dir, name)
		if err := mkdir(path); err != nil {
			return made, err
		}
		made = append(made, path)
	}
	return made, nil
}
