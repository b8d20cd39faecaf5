// SPDX-License-Identifier: Apache-2.0

// Package exact compares what the real agent exports with what the kernel's
// files say, on a real cgroup v2 kernel with a tree of real processes. Its
// expectations are written down once more, by hand, from the metric contract:
// they must share no code with cgroupfs, the sampler or the exporter.
package exact
