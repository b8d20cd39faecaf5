// SPDX-License-Identifier: Apache-2.0

// Package agent wires the parts of slicewatch into one agent: it decides what
// there is for a configuration, in which order it starts, and what happens
// when a part cannot be had. It must hold no logic of its own beyond that.
package agent
