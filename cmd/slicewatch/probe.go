// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/alecthomas/kingpin/v2"
)

const (
	probeRetry = time.Second
	// maxProbeBytes is how much of an answer is shown.
	maxProbeBytes = 1 << 10
)

// probeCommand is for places that have nothing but this program, such as its
// own image in `helm test`.
func probeCommand(app *kingpin.Application) subcommand {
	clause := app.Command("probe", probeHelp)
	url := clause.Arg("url", "What to ask, such as http://127.0.0.1:9779/-/ready.").Required().String()
	timeout := clause.Flag("timeout", "How long to try.").Default("30s").Duration()
	tokenFile := clause.Flag("token-file", "File with a bearer token to show.").PlaceHolder(`""`).String()
	return subcommand{clause: clause, run: func(ctx context.Context, in invocation) int {
		ctx, cancel := context.WithTimeout(ctx, *timeout)
		defer cancel()
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, *url, http.NoBody)
		if err != nil {
			fmt.Fprintf(in.stderr, "slicewatch: %v; see slicewatch probe --help\n", err)
			return exitUsage
		}
		if *tokenFile != "" {
			token, err := os.ReadFile(*tokenFile)
			if err != nil {
				return report(in.stderr, fmt.Errorf("read the token: %w", err))
			}
			request.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(token)))
		}
		answer, err := askUntil(ctx, request)
		fmt.Fprint(in.stdout, answer)
		return report(in.stderr, err)
	}}
}

// askUntil repeats the request until the answer is a good one, or ctx ends. It
// returns the beginning of the last answer.
func askUntil(ctx context.Context, request *http.Request) (string, error) {
	last, reason := "", error(nil)
	for {
		answer, err := ask(request)
		if err == nil {
			return answer, nil
		}
		if ctx.Err() == nil || reason == nil {
			last, reason = answer, err
		}
		timer := time.NewTimer(probeRetry)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return last, reason
		}
	}
}

func ask(request *http.Request) (_ string, err error) {
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, response.Body.Close()) }()
	body, err := io.ReadAll(io.LimitReader(response.Body, maxProbeBytes))
	if err != nil {
		return "", fmt.Errorf("read the answer of %s: %w", request.URL, err)
	}
	if response.StatusCode != http.StatusOK {
		return string(body), fmt.Errorf("%s answers %s", request.URL, response.Status)
	}
	return string(body), nil
}
