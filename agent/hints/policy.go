// SPDX-License-Identifier: Apache-2.0

package hints

import (
	"fmt"
	"slices"
	"strings"

	"github.com/slicewatch/slicewatch/agent/snapshot"
)

// Policy says how requests and limits relate.
type Policy string

// The policies.
const (
	// Burstable has a CPU limit of at least twice the request and a memory
	// limit of twice the request.
	Burstable Policy = "burstable"
	// NoCPULimit has no CPU limit, and a memory limit equal to the request.
	NoCPULimit Policy = "no-cpu-limit"
	// Guaranteed has requests equal to limits.
	Guaranteed Policy = "guaranteed"
)

// Policies returns every policy.
func Policies() []Policy { return []Policy{Burstable, NoCPULimit, Guaranteed} }

// Annotation is the pod annotation that sets the policy of one pod.
const Annotation = "slicewatch.dev/policy"

// choosePolicy finds the policy of a container; where the pod has a say in it,
// that is a reason.
func (a *advice) choosePolicy() {
	a.policy = a.settings.Policy
	if !slices.Contains(Policies(), a.policy) {
		a.policy = Burstable
	}
	if a.facts.WorkloadKind == "StatefulSet" && a.policy == Burstable {
		a.policy = Guaranteed
	}
	if a.facts.Annotation == "" {
		return
	}
	if asked := Policy(strings.TrimSpace(a.facts.Annotation)); slices.Contains(Policies(), asked) {
		a.policy = asked
		a.say(snapshot.ReasonPolicyAnnotate, snapshot.ResourceCPU,
			fmt.Sprintf("The pod's annotation %s asks for the policy %s.", Annotation, asked))
		return
	}
	a.say(snapshot.ReasonPolicyUnknown, snapshot.ResourceCPU,
		fmt.Sprintf("The pod's annotation %s says %q, which is no policy (burstable, no-cpu-limit, guaranteed): %s is used.",
			Annotation, shorten(a.facts.Annotation, 40), a.policy))
}

// shorten bounds text that a pod's author wrote.
func shorten(text string, length int) string {
	runes := []rune(text)
	if len(runes) <= length {
		return text
	}
	return string(runes[:length]) + "…"
}
