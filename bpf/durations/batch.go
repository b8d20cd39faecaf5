// SPDX-License-Identifier: Apache-2.0

package durations

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
)

// batchEntries is how many entries of a map one system call brings; a bucket
// of a hash map must fit.
const batchEntries = 64

// batch reads whole maps into memory that it keeps.
type batch[K, V any] struct {
	keys   []K
	values []V
}

// each calls fn with every entry of m. One that is added meanwhile may be
// missed, and none is there twice but when others are removed meanwhile.
func (b *batch[K, V]) each(m *ebpf.Map, fn func(K, *V)) error {
	if b.keys == nil {
		b.keys, b.values = make([]K, batchEntries), make([]V, batchEntries)
	}
	var cursor ebpf.MapBatchCursor
	for {
		n, err := m.BatchLookup(&cursor, b.keys, b.values, nil)
		for i := range n {
			fn(b.keys[i], &b.values[i])
		}
		switch {
		case errors.Is(err, ebpf.ErrKeyNotExist):
			return nil
		case err != nil:
			return fmt.Errorf("read the map %s: %w", m, err)
		}
	}
}
