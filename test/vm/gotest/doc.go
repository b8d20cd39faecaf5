// SPDX-License-Identifier: Apache-2.0

// Package gotest runs Go test binaries somewhere else than on this host and
// judges what became of each test. It owns building for another architecture,
// the list of tests that are expected, and the verdicts: a test that was
// expected and never ran, or did not finish, is a failure, not a silence. It
// must not know how the place where they run is made: it asks a Runner.
package gotest
