// SPDX-License-Identifier: Apache-2.0

package config

import (
	"errors"
	"fmt"
	"net"
	gopath "path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// value parses, checks and prints one setting. Set gets the texts of one
// source, none only for an empty list, and replaces what was there; it fails
// without change. Its errors say what is wanted and do not repeat the text.
type value interface {
	Set(texts []string) error
	Texts() []string
}

// many is a value that takes more than one text.
type many interface{ many() }

type text struct{ to *string }

func (v text) Set(texts []string) error { *v.to = texts[0]; return nil }
func (v text) Texts() []string          { return []string{*v.to} }

type path struct{ to *string }

func (v path) Texts() []string { return []string{*v.to} }
func (v path) Set(texts []string) error {
	if texts[0] == "" {
		return errors.New("must name a directory")
	}
	*v.to = gopath.Clean(texts[0])
	return nil
}

type cgroupPath struct{ to *string }

func (v cgroupPath) Texts() []string { return []string{*v.to} }
func (v cgroupPath) Set(texts []string) error {
	*v.to = ""
	if texts[0] != "" {
		*v.to = gopath.Clean("/" + texts[0])
	}
	return nil
}

type duration struct {
	to       *time.Duration
	min, max time.Duration
}

func (v duration) Texts() []string { return []string{shortDuration(*v.to)} }
func (v duration) Set(texts []string) error {
	d, err := time.ParseDuration(texts[0])
	if err != nil {
		return errors.New("not a duration: write a number with a unit, as in 500ms, 1s or 5m")
	}
	if d < v.min || d > v.max {
		return fmt.Errorf("must be between %s and %s", shortDuration(v.min), shortDuration(v.max))
	}
	*v.to = d
	return nil
}

// shortDuration prints 5m as 5m, where time.Duration says 5m0s.
func shortDuration(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = s[:len(s)-2]
	}
	if strings.HasSuffix(s, "h0m") {
		s = s[:len(s)-2]
	}
	return s
}

type count struct{ to *int }

func (v count) Texts() []string { return []string{strconv.Itoa(*v.to)} }
func (v count) Set(texts []string) error {
	n, err := strconv.Atoi(texts[0])
	if err != nil || n < 0 {
		return errors.New("must be a whole number, 0 or more")
	}
	*v.to = n
	return nil
}

// factor is a number that something is multiplied with.
type factor struct {
	to       *float64
	min, max float64
}

func (v factor) Texts() []string { return []string{strconv.FormatFloat(*v.to, 'g', -1, 64)} }
func (v factor) Set(texts []string) error {
	n, err := strconv.ParseFloat(texts[0], 64)
	if err != nil || !(n >= v.min && n <= v.max) { // NaN is neither
		return fmt.Errorf("must be a number from %g to %g", v.min, v.max)
	}
	*v.to = n
	return nil
}

type boolean struct{ to *bool }

func (v boolean) Texts() []string { return []string{strconv.FormatBool(*v.to)} }
func (v boolean) Set(texts []string) error {
	b, err := strconv.ParseBool(texts[0])
	if err != nil {
		return errors.New("must be true or false")
	}
	*v.to = b
	return nil
}

type choice struct {
	to      *string
	allowed []string
}

func (v choice) Texts() []string { return []string{*v.to} }
func (v choice) Set(texts []string) error {
	if !slices.Contains(v.allowed, texts[0]) {
		return fmt.Errorf("must be one of %s", strings.Join(v.allowed, ", "))
	}
	*v.to = texts[0]
	return nil
}

// detail is metrics.detail, a word on the outside and a bool on the inside.
type detail struct{ all *bool }

func (v detail) Texts() []string {
	if *v.all {
		return []string{"all"}
	}
	return []string{"default"}
}

func (v detail) Set(texts []string) error {
	var word string
	if err := (choice{&word, []string{"default", "all"}}).Set(texts); err != nil {
		return err
	}
	*v.all = word == "all"
	return nil
}

// pattern is a regular expression for whole strings.
type pattern struct{ to **regexp.Regexp }

const (
	anchorStart = "^(?:"
	anchorEnd   = ")$"
)

func (v pattern) Texts() []string {
	if *v.to == nil {
		return []string{""}
	}
	return []string{strings.TrimSuffix(strings.TrimPrefix((*v.to).String(), anchorStart), anchorEnd)}
}

func (v pattern) Set(texts []string) error {
	if texts[0] == "" {
		*v.to = nil
		return nil
	}
	// Alone first: "a)(b" would compile between the anchors' parentheses.
	_, err := regexp.Compile(texts[0])
	if err != nil {
		return fmt.Errorf("not a regular expression in RE2 syntax: %w", err)
	}
	anchored, err := regexp.Compile(anchorStart + texts[0] + anchorEnd)
	if err != nil {
		return fmt.Errorf("not a regular expression in RE2 syntax: %w", err)
	}
	*v.to = anchored
	return nil
}

// addresses is a list of host:port.
type addresses struct{ to *[]string }

func (addresses) many()             {}
func (v addresses) Texts() []string { return *v.to }

func (v addresses) Set(texts []string) error {
	if len(texts) == 0 {
		return errors.New("must be one address or more")
	}
	for _, address := range texts {
		if err := checkAddress(address); err != nil {
			return err
		}
	}
	*v.to = slices.Clone(texts)
	return nil
}

func checkAddress(address string) error {
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return errors.New("must be host:port, or :port for every address; IPv6 as in [::1]:9779")
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 && port != "0" {
		return errors.New("the port must be a number from 0 to 65535")
	}
	return nil
}

// address is a host:port, or empty.
type address struct{ to *string }

func (v address) Texts() []string { return []string{*v.to} }
func (v address) Set(texts []string) error {
	if texts[0] != "" {
		if err := checkAddress(texts[0]); err != nil {
			return err
		}
	}
	*v.to = texts[0]
	return nil
}

// words is a list of words, none of them empty.
type words struct{ to *[]string }

func (words) many()             {}
func (v words) Texts() []string { return *v.to }

func (v words) Set(texts []string) error {
	if slices.Contains(texts, "") {
		return errors.New("must not be empty")
	}
	*v.to = slices.Clone(texts)
	return nil
}
