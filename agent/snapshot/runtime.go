// SPDX-License-Identifier: Apache-2.0

package snapshot

// Runtime is what a process's command line shows of a language runtime or a
// database whose own settings go with the container's limits. Nothing else of
// the command line is kept, and nothing of the environment is read.
type Runtime struct {
	// Kind is empty for anything that is not known.
	Kind RuntimeKind
	// Setting is the flag that is there ("--max-old-space-size=512"), empty
	// where none is.
	Setting string
}

// RuntimeKind is a runtime that hints know.
type RuntimeKind string

// The runtimes.
const (
	RuntimeNodeJS  RuntimeKind = "nodejs"
	RuntimeJVM     RuntimeKind = "jvm"
	RuntimeGo      RuntimeKind = "go"
	RuntimeRedis   RuntimeKind = "redis"
	RuntimeMongoDB RuntimeKind = "mongodb"
)
