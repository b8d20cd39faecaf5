// SPDX-License-Identifier: Apache-2.0

package config

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
)

// fileSetting names the configuration file. It is a flag and a variable like
// the others, but has no place in the file itself.
const fileSetting = "config.file"

// envPrefix is in front of every variable. Kubernetes sets variables with the
// same prefix for a Service called slicewatch; see serviceVariable.
const envPrefix = "SLICEWATCH_"

// Sources is where settings come from besides the defaults.
type Sources struct {
	// Environ is the environment, in the form of os.Environ.
	Environ []string
	// Flags is what the command line said; nil for nothing.
	Flags *Flags
	// Hostname gives the node's name when nothing else does, in the form of
	// os.Hostname.
	Hostname func() (string, error)
}

// Load returns the configuration, and warnings about what looks like a slip
// but must be let through. The error joins all that was found wrong; each part
// names where the setting came from, its value, and what is wanted. Variables
// that are set but empty count as absent.
func Load(from Sources) (Config, []string, error) {
	loaded := Default()
	all := settings(&loaded)
	env := environment(from.Environ)

	file := env[envName(fileSetting)]
	if texts := from.Flags.given(fileSetting); len(texts) > 0 {
		file = texts[0]
	}
	var errs []error
	if file != "" {
		errs = append(errs, loadFile(file, all))
	}
	errs = append(errs, loadEnvironment(env, all), loadFlags(from.Flags, all))
	if _, ok := env["GOMAXPROCS"]; ok {
		loaded.MaxProcs = 0
	}
	if loaded.NodeName == "" {
		loaded.NodeName = env["NODE_NAME"]
	}
	if err := errors.Join(errs...); err != nil {
		return Config{}, nil, err
	}
	if loaded.NodeName == "" {
		host, err := from.Hostname()
		if err != nil {
			return Config{}, nil, fmt.Errorf("find the node's name: %w; set --node.name or NODE_NAME", err)
		}
		loaded.NodeName = host
	}
	return loaded, strayVariables(env, all), nil
}

func loadFlags(flags *Flags, all []setting) error {
	var errs []error
	for _, s := range all {
		texts := flags.given(s.name)
		if len(texts) == 0 {
			continue
		}
		if err := s.value.Set(texts); err != nil {
			errs = append(errs, fmt.Errorf("--%s=%s: %w", s.name, strings.Join(texts, ","), err))
		}
	}
	return errors.Join(errs...)
}

func loadEnvironment(env map[string]string, all []setting) error {
	var errs []error
	for _, s := range all {
		given, ok := env[envName(s.name)]
		if !ok {
			continue
		}
		texts := []string{given}
		if _, ok := s.value.(many); ok {
			texts = strings.Split(given, ",")
		}
		if err := s.value.Set(texts); err != nil {
			errs = append(errs, fmt.Errorf("%s=%s: %w", envName(s.name), given, err))
		}
	}
	return errors.Join(errs...)
}

// envName returns the variable of a setting: SLICEWATCH_SAMPLE_INTERVAL for
// sample.interval.
func envName(name string) string {
	return envPrefix + strings.ToUpper(strings.NewReplacer(".", "_", "-", "_").Replace(name))
}

// environment maps the variables that are set and not empty.
func environment(environ []string) map[string]string {
	env := make(map[string]string, len(environ))
	for _, entry := range environ {
		if name, given, ok := strings.Cut(entry, "="); ok && given != "" {
			env[name] = given
		}
	}
	return env
}

// strayVariables warns about variables with our prefix that no setting has.
func strayVariables(env map[string]string, all []setting) []string {
	known := []string{envName(fileSetting)}
	for _, s := range all {
		known = append(known, envName(s.name))
	}
	var warnings []string
	for name := range env {
		if !strings.HasPrefix(name, envPrefix) || slices.Contains(known, name) || serviceVariable(name) {
			continue
		}
		warning := fmt.Sprintf("environment variable %s has no meaning", name)
		if near := nearest(name, known); near != "" {
			warning += fmt.Sprintf(", did you mean %s?", near)
		}
		warnings = append(warnings, warning)
	}
	slices.Sort(warnings)
	return warnings
}

// serviceVariable says whether the kubelet sets this variable in every pod of
// a namespace that has a Service whose name begins with slicewatch.
// Kubernetes: pkg/kubelet/envvars/envvars.go.
func serviceVariable(name string) bool {
	return strings.HasSuffix(name, "_SERVICE_HOST") || strings.Contains(name, "_SERVICE_PORT") ||
		strings.HasSuffix(name, "_PORT") || strings.Contains(name, "_PORT_")
}

func loadFile(name string, all []setting) error {
	content, err := os.ReadFile(name)
	if err != nil {
		return fmt.Errorf("read the configuration file: %w", err)
	}
	return parseFile(name, content, all)
}

// WantsColor says whether the environment allows coloured output on a
// terminal. Rule: https://no-color.org.
func WantsColor(environ []string) bool {
	env := environment(environ)
	return env["NO_COLOR"] == "" && env["TERM"] != "dumb"
}
