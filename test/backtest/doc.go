// SPDX-License-Identifier: Apache-2.0

// Package backtest judges what would have been recommended for a container by
// what it went on to use. It walks over recorded and generated traces of CPU
// and memory use: a recommender sees only what lies before the moment it is
// asked, its answer is held, and what follows says what that cost. It owns the
// traces, the arithmetic of the judgement and faithful models of the Vertical
// Pod Autoscaler and of a percentile recommender. It must not know how
// slicewatch's own hints are made: it asks for them like for the others'.
package backtest
