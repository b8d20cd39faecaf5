// SPDX-License-Identifier: Apache-2.0

// Package reading reads the node's cgroups for the sampler: all at once through
// the eBPF iterator where there is one, and through the files what the iterator
// does not give. It owns which of the two a field comes from, when a file need
// not be read, and what happens when the iterator fails and when it comes back.
// It must not know what a container is or what becomes of the readings.
package reading
