// SPDX-License-Identifier: Apache-2.0

// Package hints puts what slicewatch hints prints to a real kube-apiserver: every
// patch and VerticalPodAutoscaler is applied as a user would, and what --cluster
// says of autoscalers, limit ranges and quotas is held against what the API
// server itself refuses. It owns these tests, the agents that they make up, and
// a stand-in for the nodes' network. It must not know how hints are made.
package hints
