// SPDX-License-Identifier: Apache-2.0

package backtest

// All returns those that are compared. The first is judged against the others,
// in this order.
func All() []Recommender { return []Recommender{Slicewatch(), VPA(), Percentile()} }
