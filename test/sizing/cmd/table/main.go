// SPDX-License-Identifier: Apache-2.0

// Command table makes a table of what the experiments of test/sizing printed. It
// owns where that comes from and goes to. It must not know what an experiment is.
//
//	vmtest -v ./test/sizing | go run ./test/sizing/cmd/table -into docs/hints.md
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/slicewatch/slicewatch/test/sizing"
)

func main() {
	into := flag.String("into", "", "the Markdown file whose table is to be replaced; empty only prints it")
	records := flag.String("records", "", "the file for TestRecordedWindows that the windows of machines with the instruction clock are to be written to; empty writes none")
	flag.Parse()
	if err := run(*into, *records, os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "table:", err)
		os.Exit(1)
	}
}

func run(into, records string, in io.Reader, out io.Writer) error {
	rows, windows, err := sizing.Read(in, out)
	if err != nil {
		return err
	}
	if len(rows) == 0 {
		return errors.New("no experiment printed a result")
	}
	if records != "" {
		if err := write(records, windows); err != nil {
			return err
		}
	}
	report := sizing.Report(rows)
	if into == "" {
		_, err := fmt.Fprintln(out, report)
		return err
	}
	text, err := os.ReadFile(into)
	if err != nil {
		return fmt.Errorf("read what holds the table: %w", err)
	}
	replaced, err := sizing.Replace(string(text), report)
	if err != nil {
		return fmt.Errorf("%s: %w", into, err)
	}
	return os.WriteFile(into, []byte(replaced), 0o644)
}

func write(path string, windows []*sizing.Recorded) error {
	file, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("keep the windows' records: %w", err)
	}
	windows = slices.DeleteFunc(windows, func(r *sizing.Recorded) bool { return !strings.Contains(r.Machine, sizing.InstructionClock) })
	return errors.Join(sizing.WriteRecorded(file, windows), file.Close())
}
