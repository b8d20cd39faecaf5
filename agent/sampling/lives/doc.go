// SPDX-License-Identifier: Apache-2.0

// Package lives keeps the lives of containers that ended, so that a crash loop
// reads as a row of starts. It owns how many are kept and for how long, what is
// changed in one after its end (a name, CPU time or a kill that was told late), and
// how they are kept over a restart of the agent. It must not know how a life is
// found, when it ends, or how it is shown.
package lives
