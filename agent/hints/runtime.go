// SPDX-License-Identifier: Apache-2.0

package hints

// Runtime is what a container's command line shows of a language runtime or a
// database whose own settings go with the memory limit.
type Runtime struct {
	Kind RuntimeKind
	// Setting is the flag that is there ("--max-old-space-size=512"), empty
	// where the runtime takes its default.
	Setting string
}

// RuntimeKind is a runtime that the hints know.
type RuntimeKind string

// The runtimes; empty for any other.
const (
	NodeJS  RuntimeKind = "nodejs"
	JVM     RuntimeKind = "jvm"
	Go      RuntimeKind = "go"
	Redis   RuntimeKind = "redis"
	MongoDB RuntimeKind = "mongodb"
)
