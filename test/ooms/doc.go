// SPDX-License-Identifier: Apache-2.0

// Package ooms lets a real kernel kill for want of memory, at every level that
// has a limit, and holds what the real agent says of it against what was done. It
// owns these kills. It must not know how the agent tells them.
package ooms
