// SPDX-License-Identifier: Apache-2.0

package work

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// params are a workload's arguments, defaults filled in. The first value that
// does not parse is kept in err, so that workloads ask for all they need and
// look once.
type params struct {
	kind   string
	values map[string]string
	err    error
}

// parseParams reads "key=value" words; a key that the kind's defaults do not
// have is an error that lists those it takes. Every kind takes comm.
func parseParams(k Kind, words []string) (*params, error) {
	p := &params{kind: k.Name, values: map[string]string{"comm": ""}}
	for word := range strings.FieldsSeq(k.Defaults) {
		key, value, _ := strings.Cut(word, "=")
		p.values[key] = value
	}
	for _, word := range words {
		key, value, found := strings.Cut(word, "=")
		if _, known := p.values[key]; !found || !known {
			return nil, &usageError{fmt.Sprintf("%s does not take %q; it takes %s comm=", k.Name, word, k.Defaults)}
		}
		p.values[key] = value
	}
	return p, nil
}

func (p *params) fail(key, want string) {
	if p.err == nil {
		p.err = &usageError{fmt.Sprintf("%s: %s=%s is no %s", p.kind, key, p.values[key], want)}
	}
}

func (p *params) text(key string) string { return p.values[key] }

// whole returns a whole number that is not negative.
func (p *params) whole(key string) int {
	n, err := strconv.Atoi(p.values[key])
	if err != nil || n < 0 {
		p.fail(key, "whole number")
		return 0
	}
	return n
}

// share returns a number from 0 to 1.
func (p *params) share(key string) float64 {
	x, err := strconv.ParseFloat(p.values[key], 64)
	if err != nil || !(x >= 0 && x <= 1) {
		p.fail(key, "share between 0 and 1")
		return 0
	}
	return x
}

// span returns a duration, 0 included.
func (p *params) span(key string) time.Duration {
	if p.values[key] == "0" {
		return 0
	}
	d, err := time.ParseDuration(p.values[key])
	if err != nil || d < 0 {
		p.fail(key, "duration such as 100ms")
		return 0
	}
	return d
}

// bytes returns a size: a number with an optional Ki, Mi or Gi.
func (p *params) bytes(key string) int {
	n, err := ParseBytes(p.values[key])
	if err != nil || n > math.MaxInt {
		p.fail(key, "size such as 16Mi")
		return 0
	}
	return int(n)
}

// ParseBytes reads a size as Kubernetes writes it, with a binary suffix or
// none: "16Mi", "4096".
func ParseBytes(s string) (int64, error) {
	digits, scale := s, int64(1)
	for i, suffix := range []string{"Ki", "Mi", "Gi"} {
		if rest, ok := strings.CutSuffix(s, suffix); ok {
			digits, scale = rest, 1<<(10*(i+1))
		}
	}
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || n < 0 || n > math.MaxInt64/scale {
		return 0, fmt.Errorf("size %q: want a number with Ki, Mi, Gi or nothing after it", s)
	}
	return n * scale, nil
}
