// SPDX-License-Identifier: Apache-2.0

// Package truth reads cgroup files the simplest way there is, to compare fast
// readers with. It owns one naive parser. It must not share any code with the
// readers under test, know what a file means, or be fast.
package truth
