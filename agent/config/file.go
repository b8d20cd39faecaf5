// SPDX-License-Identifier: Apache-2.0

package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	"go.yaml.in/yaml/v3"
)

// parseFile sets what a YAML file says. Keys are the settings' names, their
// dots as levels: "sample.interval" is interval below sample. An unknown key is
// an error. Errors carry the file's name and line.
func parseFile(name string, content []byte, all []setting) error {
	var document yaml.Node
	decoder := yaml.NewDecoder(bytes.NewReader(content))
	if err := decoder.Decode(&document); errors.Is(err, io.EOF) {
		return nil
	} else if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if err := decoder.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		return fmt.Errorf("%s: has more than one YAML document; keep one", name)
	}
	f := fileParser{name: name, all: all, lines: make(map[string]int)}
	f.mapping("", document.Content[0])
	return errors.Join(f.errs...)
}

type fileParser struct {
	name  string
	all   []setting
	lines map[string]int // where each setting was set
	errs  []error
}

func (f *fileParser) fail(at *yaml.Node, format string, args ...any) {
	f.errs = append(f.errs, fmt.Errorf("%s:%d: "+format, append([]any{f.name, at.Line}, args...)...))
}

// mapping goes through the keys of a mapping; prefix is "" or ends with a dot.
func (f *fileParser) mapping(prefix string, node *yaml.Node) {
	if isNull(node) {
		return
	}
	if node.Kind != yaml.MappingNode {
		what := "the file"
		if prefix != "" {
			what = strings.TrimSuffix(prefix, ".")
		}
		f.fail(node, "%s must hold keys and their values", what)
		return
	}
	for i := 0; i+1 < len(node.Content); i += 2 {
		key, content := node.Content[i], node.Content[i+1]
		full := prefix + key.Value
		if s, ok := find(f.all, full); ok {
			f.setting(s, key, content)
		} else if f.isLevel(full) {
			f.mapping(full+".", content)
		} else {
			f.unknown(full, key)
		}
	}
}

func (f *fileParser) setting(s setting, key, node *yaml.Node) {
	if line, ok := f.lines[s.name]; ok {
		f.fail(key, "%s was already set in line %d; keep one", s.name, line)
		return
	}
	f.lines[s.name] = key.Line
	_, isList := s.value.(many)
	var texts []string
	switch {
	case isNull(node):
		return
	case node.Kind == yaml.ScalarNode:
		texts = []string{node.Value}
	case node.Kind == yaml.SequenceNode && isList:
		for _, item := range node.Content {
			if item.Kind != yaml.ScalarNode {
				f.fail(item, "%s: must be a list of plain values", s.name)
				return
			}
			texts = append(texts, item.Value)
		}
	case isList:
		f.fail(node, "%s: must be a value or a list of values", s.name)
		return
	default:
		f.fail(node, "%s: must be a single value", s.name)
		return
	}
	if err := s.value.Set(texts); err != nil {
		f.fail(node, "%s: %s: %w", s.name, strings.Join(texts, ","), err)
	}
}

// isLevel says whether settings lie below this key.
func (f *fileParser) isLevel(key string) bool {
	for _, s := range f.all {
		if strings.HasPrefix(s.name, key+".") {
			return true
		}
	}
	return false
}

func (f *fileParser) unknown(key string, at *yaml.Node) {
	names := make([]string, 0, len(f.all))
	for _, s := range f.all {
		names = append(names, s.name)
	}
	if near := nearest(key, names); near != "" {
		f.fail(at, "unknown key %s, did you mean %s?", key, near)
		return
	}
	f.fail(at, "unknown key %s; slicewatch agent --help lists the settings", key)
}

func isNull(node *yaml.Node) bool { return node.Kind == yaml.ScalarNode && node.Tag == "!!null" }

// WriteYAML writes the configuration in the form of a configuration file, every
// setting included, so that it can be read back.
func (c Config) WriteYAML(w io.Writer) error {
	root := &yaml.Node{Kind: yaml.MappingNode}
	all := settings(&c)
	for _, s := range all {
		levels := levelsOf(s.name, all)
		at := root
		for _, level := range levels[:len(levels)-1] {
			at = below(at, level)
		}
		at.Content = append(at.Content, scalar(levels[len(levels)-1]), valueNode(s.value))
	}
	encoder := yaml.NewEncoder(w)
	encoder.SetIndent(2)
	if err := encoder.Encode(root); err != nil {
		return fmt.Errorf("write the configuration: %w", err)
	}
	return nil
}

// levelsOf returns the keys that a setting lies below each other in. Where a
// part of the name is a setting itself (containerd, containerd.address) a key
// cannot hold both a value and keys: the whole name is one key then.
func levelsOf(name string, all []setting) []string {
	for i, c := range name {
		if c != '.' {
			continue
		}
		if _, ok := find(all, name[:i]); ok {
			return []string{name}
		}
	}
	return strings.Split(name, ".")
}

// below returns the mapping under key, which it adds if it is not there.
func below(node *yaml.Node, key string) *yaml.Node {
	for i := 0; i+1 < len(node.Content); i += 2 {
		if node.Content[i].Value == key {
			return node.Content[i+1]
		}
	}
	child := &yaml.Node{Kind: yaml.MappingNode}
	node.Content = append(node.Content, scalar(key), child)
	return child
}

func valueNode(v value) *yaml.Node {
	texts := v.Texts()
	switch v.(type) {
	case count, factor, boolean:
		return &yaml.Node{Kind: yaml.ScalarNode, Value: texts[0]}
	case many:
		list := &yaml.Node{Kind: yaml.SequenceNode}
		for _, t := range texts {
			list.Content = append(list.Content, scalar(t))
		}
		return list
	}
	return scalar(texts[0])
}

// scalar is a string, which the encoder quotes where it would read as
// something else: "", null.
func scalar(s string) *yaml.Node {
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: s}
}
