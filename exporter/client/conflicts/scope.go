// SPDX-License-Identifier: Apache-2.0

package conflicts

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
)

// inScope says whether a quota counts the requests and limits of a pod that
// follows its hint (podMatchesScopeFunc in pkg/quota/v1/evaluator/core/pods.go).
func inScope(q *corev1.ResourceQuota, pod *corev1.Pod) bool {
	if pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed {
		return false
	}
	return ofScopes(q, pod)
}

// ofScopes says whether a quota is of pods like this one, which may be done.
func ofScopes(q *corev1.ResourceQuota, pod *corev1.Pod) bool {
	selectors := []corev1.ScopedResourceSelectorRequirement{}
	for _, scope := range q.Spec.Scopes {
		selectors = append(selectors, corev1.ScopedResourceSelectorRequirement{ScopeName: scope, Operator: corev1.ScopeSelectorOpExists})
	}
	if q.Spec.ScopeSelector != nil {
		selectors = append(selectors, q.Spec.ScopeSelector.MatchExpressions...)
	}
	for _, s := range selectors {
		if !matches(s, pod) {
			return false
		}
	}
	return true
}

func matches(s corev1.ScopedResourceSelectorRequirement, pod *corev1.Pod) bool {
	switch s.ScopeName {
	case corev1.ResourceQuotaScopeTerminating:
		return pod.Spec.ActiveDeadlineSeconds != nil
	case corev1.ResourceQuotaScopeNotTerminating:
		return pod.Spec.ActiveDeadlineSeconds == nil
	case corev1.ResourceQuotaScopeBestEffort:
		return false // with requests it is not any more
	case corev1.ResourceQuotaScopeNotBestEffort:
		return true
	case corev1.ResourceQuotaScopePriorityClass:
		switch class := pod.Spec.PriorityClassName; s.Operator {
		case corev1.ScopeSelectorOpIn:
			return slices.Contains(s.Values, class)
		case corev1.ScopeSelectorOpNotIn:
			return !slices.Contains(s.Values, class)
		case corev1.ScopeSelectorOpExists:
			return class != ""
		case corev1.ScopeSelectorOpDoesNotExist:
			return class == ""
		}
	}
	return false // a scope that is newer than this, or one of something else
}
