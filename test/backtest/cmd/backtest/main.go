// SPDX-License-Identifier: Apache-2.0

// Command backtest compares slicewatch's hints with what others would have
// recommended, over generated traces, recorded ones that come with the project
// and those in the directories that it is given. It owns its words and where its
// tables and pictures go. It must not know how anything is judged.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/slicewatch/slicewatch/test/backtest"
)

const usage = `backtest walks over traces of CPU and memory use and says what the hints of
slicewatch, of the Vertical Pod Autoscaler and of a percentile recommender would
have cost.

  go run ./test/backtest/cmd/backtest [flags] [directory...]

Without a directory: generated traces and the recorded ones of the project.
With: those too. A .csv file has a header with a "timestamp" column (seconds since
1970, "2006-01-02 15:04:05" or RFC 3339) and one or more of "value" (percent of a
machine of 4 cores), "cpu_usage" (cores), "memory_working_set" (bytes). Of traces
with the same points the first counts.

`

func main() {
	if err := run(os.Args[1:], os.Stdout, os.Stderr); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return
		}
		fmt.Fprintln(os.Stderr, "backtest:", err)
		os.Exit(1)
	}
}

func run(args []string, out, progress io.Writer) error {
	flags := flag.NewFlagSet("backtest", flag.ContinueOnError)
	flags.Usage = func() {
		_, _ = io.WriteString(flags.Output(), usage)
		flags.PrintDefaults()
	}
	recorded := flags.String("recorded", "test/backtest/testdata/nab", "directory of recorded traces; empty for none")
	generated := flags.Bool("generated", true, "walk over generated traces")
	write := flags.String("write", "", "put the tables between the back-test's marks in this Markdown `file` instead of printing them")
	pictures := flags.String("pictures", "", "write pictures of some traces into this `directory`")
	if err := flags.Parse(args); err != nil {
		return err
	}
	traces, err := gather(*generated, *recorded, flags.Args())
	if err != nil {
		return err
	}
	traces, repeated := traces.Distinct()
	for _, one := range repeated {
		fmt.Fprintf(progress, "left out, as its points are those of another trace: %s\n", one)
	}
	j := backtest.Judge(traces, backtest.All(), func(done, of int) {
		if done%10 == 0 || done == of {
			fmt.Fprintf(progress, "%d of %d traces\n", done, of)
		}
	})
	if *pictures != "" {
		if err := j.WritePictures(*pictures); err != nil {
			return err
		}
	}
	if *write == "" {
		return j.WriteMarkdown(out)
	}
	return intoFile(*write, j)
}

func gather(generated bool, recorded string, dirs []string) (backtest.Traces, error) {
	var all backtest.Traces
	if generated {
		all = backtest.Generated()
	}
	if recorded != "" {
		dirs = append([]string{recorded}, dirs...)
	}
	for _, dir := range dirs {
		traces, err := backtest.ReadDir(dir)
		if err != nil {
			return all, err
		}
		all.Add(traces)
	}
	if len(all.CPU)+len(all.Memory) == 0 {
		return all, errors.New("there is no trace: give a directory, or leave -generated and -recorded as they are")
	}
	return all, nil
}

// The marks between which a page has the tables.
const (
	beginMark = "<!-- back-test: begin -->\n"
	endMark   = "<!-- back-test: end -->\n"
)

func intoFile(path string, j backtest.Judgement) error {
	page, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	before, rest, ok := strings.Cut(string(page), beginMark)
	_, after, ok2 := strings.Cut(rest, endMark)
	if !ok || !ok2 {
		return fmt.Errorf("%s lacks the lines %q and %q between which the tables go", path, strings.TrimSpace(beginMark), strings.TrimSpace(endMark))
	}
	var tables strings.Builder
	if err := j.WriteMarkdown(&tables); err != nil {
		return err
	}
	return os.WriteFile(filepath.Clean(path), []byte(before+beginMark+"\n"+tables.String()+"\n"+endMark+after), 0o644)
}
