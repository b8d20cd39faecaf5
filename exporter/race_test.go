// SPDX-License-Identifier: Apache-2.0

//go:build race

package exporter

// The race detector makes sync.Pool forget at random.
const poolsForget = true
