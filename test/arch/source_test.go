// SPDX-License-Identifier: Apache-2.0

// Package arch holds the architecture: who may import whom and why, and the
// rules of the house that a program can check. It owns the rules and reads the
// source files alone, without building anything. It must not know what any
// package does, and it has tests only.
package arch

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const (
	repository = "../.."
	module     = "github.com/slicewatch/slicewatch"
)

// sourceFile is one parsed Go file.
type sourceFile struct {
	path      string // relative to the repository, with slashes
	dir       string // of path; "." for the repository itself
	test      bool
	generated bool
	nested    bool // below a go.mod of its own
	lines     int
	content   []byte
	tree      *ast.File
	fset      *token.FileSet
}

// sources parses every Go file of the repository.
func sources(t *testing.T) []*sourceFile {
	t.Helper()
	var files []*sourceFile
	nested := make(map[string]bool)
	err := filepath.WalkDir(repository, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		relative, err := filepath.Rel(repository, path)
		if err != nil {
			return err
		}
		relative = filepath.ToSlash(relative)
		if entry.IsDir() {
			if skippedDir(relative, entry.Name()) {
				return filepath.SkipDir
			}
			_, err := os.Stat(filepath.Join(path, "go.mod"))
			nested[relative] = relative != "." && (err == nil || nested[parentDir(relative)])
			return nil
		}
		if !strings.HasSuffix(relative, ".go") {
			return nil
		}
		file, err := parse(path, relative)
		if err != nil {
			return err
		}
		file.nested = nested[file.dir]
		files = append(files, file)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(files) < 20 {
		t.Fatalf("only %d Go files found: the test looks in the wrong place", len(files))
	}
	return files
}

func skippedDir(path, name string) bool {
	return name == "testdata" || path == "bin" || path == "build" || path != "." && strings.HasPrefix(name, ".")
}

func parentDir(path string) string { return filepath.ToSlash(filepath.Dir(path)) }

func parse(path, relative string) (*sourceFile, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	fset := token.NewFileSet()
	tree, err := parser.ParseFile(fset, path, content, parser.ParseComments)
	if err != nil {
		return nil, err
	}
	return &sourceFile{
		path: relative, dir: parentDir(relative),
		test:      strings.HasSuffix(relative, "_test.go"),
		generated: ast.IsGenerated(tree),
		lines:     strings.Count(string(content), "\n"),
		content:   content, tree: tree, fset: fset,
	}, nil
}

func (f *sourceFile) line(at token.Pos) int { return f.fset.Position(at).Line }

// imports returns the import paths of the file.
func (f *sourceFile) imports() []string {
	var paths []string
	for _, spec := range f.tree.Imports {
		path, err := strconv.Unquote(spec.Path.Value)
		if err == nil {
			paths = append(paths, path)
		}
	}
	return paths
}

// within says whether path is dir or below it.
func within(path, dir string) bool { return path == dir || strings.HasPrefix(path, dir+"/") }

// withinAny says whether path is one of dirs or below one.
func withinAny(path string, dirs []string) bool {
	return slices.ContainsFunc(dirs, func(dir string) bool { return within(path, dir) })
}

// isProduct says whether the file is part of what is shipped.
func (f *sourceFile) isProduct() bool {
	return !f.test && !f.nested && !within(f.dir, "test") && f.dir != "cgroupfs/fixturetree"
}
