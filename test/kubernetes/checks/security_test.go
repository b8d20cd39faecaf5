// SPDX-License-Identifier: Apache-2.0

//go:build linux

package checks

import (
	"fmt"
	"strings"
	"testing"
)

// The capabilities that the agent is to have: 1 << CAP_PERFMON | 1 << CAP_BPF
// (include/uapi/linux/capability.h).
const wantedCapabilities = 1<<38 | 1<<39

// TestSecurity checks what the kernel enforces on the agent's process, not
// what the manifest asks for.
func TestSecurity(t *testing.T) {
	c, pod, agent := open(t)
	const script = `for p in /proc/[0-9]*; do
	[ "$(readlink $p/exe)" = /slicewatch ] || continue
	grep -E '^(Cap|NoNewPrivs|Seccomp:|Uid)' $p/status
	grep -E ' / / ' $p/mountinfo | grep -q ' ro[, ]' && echo Root: ro
	grep ' /host/sys/fs/cgroup ' $p/mountinfo | grep -q ' ro[, ]' && echo Cgroup: ro
done`
	output, err := c.Node.Shell(t.Context(), script)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for line := range strings.Lines(output) {
		name, value, _ := strings.Cut(line, ":")
		got[name] = strings.TrimSpace(value)
	}
	capabilities := fmt.Sprintf("%016x", wantedCapabilities)
	for name, want := range map[string]string{
		"CapPrm": capabilities, "CapEff": capabilities, "CapBnd": capabilities, "CapAmb": fmt.Sprintf("%016x", 0),
		"NoNewPrivs": "1", "Seccomp": "2", "Root": "ro", "Cgroup": "ro",
	} {
		if got[name] != want {
			t.Errorf("%s of the agent's process is %q, want %q", name, got[name], want)
		}
	}
	for _, container := range pod.Spec.Containers {
		if s := container.SecurityContext; s == nil || s.Privileged != nil && *s.Privileged {
			t.Errorf("container %s is privileged or says nothing of security: %+v", container.Name, s)
		}
	}
	s, err := agent.Scrape(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	// Without the right to look at other processes these would be absent.
	for _, family := range []string{"slicewatch_container_oom_score_adj", "slicewatch_container_oom_score"} {
		if len(s.Named(family)) == 0 {
			t.Errorf("%s is absent: the agent cannot read it with its capabilities", family)
		}
	}
}
