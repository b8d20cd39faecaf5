// SPDX-License-Identifier: Apache-2.0

// Package checkpoint keeps what must survive the agent in its state directory
// on the node: which files, their framing, their versions, who may write, and
// what becomes of one that cannot be read. It must not know what the bytes
// mean that it keeps.
package checkpoint
