// SPDX-License-Identifier: Apache-2.0

package sizing

import "math"

const (
	// precision is the ratio of a limit that is enough and one that is not, when
	// the search ends.
	precision = 1.05
	firstStep = 1.12
)

// smallest returns the smallest limit that is enough, to precision and rather
// above it; begun at a guess, which only decides how many are tried. most is
// taken to be enough.
func smallest(guess, least, most float64, enough func(float64) bool) float64 {
	low, high := least, most
	at, step := min(max(guess, least), most), firstStep
	for low == least && high == most || at > low && at < high {
		// Away from the guess, in steps that grow, until it is between two.
		if enough(at) {
			high = at
			if low > least {
				break
			}
			at /= step
		} else {
			low = at
			if high < most {
				break
			}
			at *= step
		}
		step *= firstStep
		if at <= least || at >= most {
			break
		}
	}
	for high/low > precision {
		middle := math.Sqrt(low * high)
		if enough(middle) {
			high = middle
		} else {
			low = middle
		}
	}
	return high
}
