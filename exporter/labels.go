// SPDX-License-Identifier: Apache-2.0

package exporter

import (
	"cmp"
	"slices"
	"strings"
	"unicode/utf8"

	dto "github.com/prometheus/client_model/go"
)

// maxLabelBytes bounds a label's value. What Kubernetes names is far below
// it; a longer image reference or path is cut.
const maxLabelBytes = 1024

// cleanLabelValue returns v as valid UTF-8 of at most maxLabelBytes. Names
// come from pods and paths, so they are whatever somebody made them.
func cleanLabelValue(v string) string {
	if len(v) > maxLabelBytes {
		cut := maxLabelBytes
		for cut > maxLabelBytes-utf8.UTFMax && !utf8.RuneStart(v[cut]) {
			cut--
		}
		v = v[:cut]
	}
	// '?' is one byte, so that replacing cannot make the value longer.
	return strings.ToValidUTF8(v, "?")
}

// labelPairs returns names with values, cleaned, in the order of the names.
func labelPairs(names, values []string) []*dto.LabelPair {
	pairs := make([]*dto.LabelPair, len(names))
	for i := range names {
		pairs[i] = &dto.LabelPair{Name: &names[i], Value: new(cleanLabelValue(values[i]))}
	}
	return pairs
}

// joinPairs returns the pairs of both, sorted by name as client_golang does.
func joinPairs(a, b []*dto.LabelPair) []*dto.LabelPair {
	joined := slices.Concat(a, b)
	slices.SortFunc(joined, func(a, b *dto.LabelPair) int { return cmp.Compare(a.GetName(), b.GetName()) })
	return joined
}
