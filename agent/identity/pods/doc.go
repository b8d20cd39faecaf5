// SPDX-License-Identifier: Apache-2.0

// Package pods follows the pods of one node through the API server: one list
// and one watch, limited by a field selector, stripped before they are kept.
// It turns API objects into plain facts for whoever wants them, and says why
// it has none. It owns the Kubernetes client and must not know cgroups, the
// container runtime or who reads the facts.
package pods
