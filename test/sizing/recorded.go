// SPDX-License-Identifier: Apache-2.0

package sizing

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/slicewatch/slicewatch/agent/hints/quota"
)

// InstructionClock is in the names of machines whose time does not depend on
// their host.
const InstructionClock = "instruction clock"

// Recorded is one window of an experiment as the agent recorded it, so that what
// it says of the limit can be computed again without a machine.
type Recorded struct {
	Machine string
	Shape   string
	Class   Class
	Exact   bool
	Enough  float64
	Share   float64
	// Applied says that it is the window after the hint was applied.
	Applied bool
	Records quota.Records
}

// recordsMark begins a window in the output of a test.
const recordsMark = "records-row "

// Line returns the window as a line that ParseRecorded finds.
func (r *Recorded) Line() string {
	var packed bytes.Buffer
	w := gzip.NewWriter(&packed)
	if err := json.NewEncoder(w).Encode(r); err != nil {
		return fmt.Sprintf("a window that has no JSON: %v", err)
	}
	_ = w.Close() // to memory
	return recordsMark + base64.StdEncoding.EncodeToString(packed.Bytes())
}

// ParseRecorded returns the window in a line of a test's output, nil if it has
// none.
func ParseRecorded(line string) (*Recorded, error) {
	_, text, found := strings.Cut(line, recordsMark)
	if !found {
		return nil, nil
	}
	all, err := ReadRecorded(base64.NewDecoder(base64.StdEncoding, strings.NewReader(strings.TrimSpace(text))))
	if err != nil {
		return nil, err
	}
	if len(all) != 1 {
		return nil, fmt.Errorf("%d windows in a line, want one", len(all))
	}
	return all[0], nil
}

// ReadRecorded returns the windows of a file: gzip, a line of JSON each.
func ReadRecorded(from io.Reader) ([]*Recorded, error) {
	unpacked, err := gzip.NewReader(from)
	if err != nil {
		return nil, fmt.Errorf("unpack windows: %w", err)
	}
	var all []*Recorded
	for lines := json.NewDecoder(bufio.NewReader(unpacked)); ; {
		r := &Recorded{}
		switch err := lines.Decode(r); {
		case err == io.EOF:
			return all, nil
		case err != nil:
			return nil, fmt.Errorf("window %d: %w", len(all)+1, err)
		}
		all = append(all, r)
	}
}

// WriteRecorded writes windows as ReadRecorded reads them.
func WriteRecorded(to io.Writer, all []*Recorded) error {
	w := gzip.NewWriter(to)
	lines := json.NewEncoder(w)
	for _, r := range all {
		if err := lines.Encode(r); err != nil {
			return fmt.Errorf("write a window of %s: %w", r.Shape, err)
		}
	}
	return w.Close()
}
