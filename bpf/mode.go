// SPDX-License-Identifier: Apache-2.0

package bpf

// Mode says whether eBPF programs are wanted.
type Mode string

// The modes.
const (
	Auto     Mode = "auto"     // whatever this kernel and these rights allow
	Off      Mode = "off"      // none
	Required Mode = "required" // all of them, or the agent does not start
)

// Status is what one program says of itself.
type Status struct {
	// Program is its name, as in slicewatch_source_up{source="..."}.
	Program string
	// How names the hooks that are in use, for example "fentry/oom_kill_process".
	// It is empty where the program is not there at all.
	How string
	// Without says what the agent lacks or does instead without this program,
	// as a sentence for an operator.
	Without string
	// Err is why the program is not there or gives less than it could: usually
	// an *Unavailable. nil: it works as it should.
	Err error
}

// Up says whether the program does its work, perhaps not all of it.
func (s Status) Up() bool { return s.How != "" }
