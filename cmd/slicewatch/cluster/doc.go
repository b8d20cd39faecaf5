// SPDX-License-Identifier: Apache-2.0

// Package cluster reads from the API server, with the rights of the user who runs
// a command, what hints are held against, and finds the agents of all nodes. It
// owns that reading and what becomes of rights that are missing. It must not know
// the rules (exporter/client/conflicts), nor the words of the command line; and the agent must not
// know it, whose own rights are to read pods and no more.
package cluster
