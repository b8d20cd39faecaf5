// SPDX-License-Identifier: Apache-2.0

// Package hints says what a container's requests and limits should be, and why.
// It owns the rules, one file each, their reasons and their sentences, the
// policies, and how the amounts are rounded. Everything in it is a function of
// a container's history, of what is set for it now, of the settings and of the
// time: it must not know files, clients, HTTP or clocks.
package hints
