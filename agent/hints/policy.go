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

// choosePolicy returns the policy of a container, and reasons where the pod has
// a say in it.
func choosePolicy(f *Facts, set Settings) (Policy, []snapshot.Reason) {
	policy := set.Policy
	if !slices.Contains(Policies(), policy) {
		policy = Burstable
	}
	if f.WorkloadKind == "StatefulSet" && policy == Burstable {
		policy = Guaranteed
	}
	if f.Annotation == "" {
		return policy, nil
	}
	asked := Policy(strings.TrimSpace(f.Annotation))
	if slices.Contains(Policies(), asked) {
		return asked, []snapshot.Reason{{
			Code: snapshot.ReasonPolicyAnnotate, Resource: snapshot.ResourceCPU,
			Text: fmt.Sprintf("The pod's annotation %s asks for the policy %s.", Annotation, asked),
		}}
	}
	return policy, []snapshot.Reason{{
		Code: snapshot.ReasonPolicyUnknown, Resource: snapshot.ResourceCPU,
		Text: fmt.Sprintf("The pod's annotation %s says %q, which is no policy (burstable, no-cpu-limit, guaranteed); %s is used.",
			Annotation, shorten(f.Annotation, 40), policy),
	}}
}

// shorten bounds text that a pod's author wrote.
func shorten(text string, length int) string {
	runes := []rune(text)
	if len(runes) <= length {
		return text
	}
	return string(runes[:length]) + "…"
}
