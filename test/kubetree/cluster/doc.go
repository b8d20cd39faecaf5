// SPDX-License-Identifier: Apache-2.0

// Package cluster is the made-up small cluster of the demo: which pods there
// are, what they play, and what troubles them. It owns their descriptions. It
// must not make anything itself (package kubetree does) or know who watches.
package cluster
