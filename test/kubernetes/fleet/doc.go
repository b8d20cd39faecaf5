// SPDX-License-Identifier: Apache-2.0

//go:build linux

// Package fleet measures what many agents that start at the same time cost a
// real kube-apiserver, next to agents that ask for every pod.
//
// It owns the made-up nodes and pods, the two kinds of agents and the figures.
// It must not know how an API server is started.
package fleet
