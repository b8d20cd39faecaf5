// SPDX-License-Identifier: Apache-2.0

package arch

import (
	"fmt"
	"go/ast"
	"strings"
	"testing"
)

const licence = "// SPDX-License-Identifier: Apache-2.0\n"

func TestLicenceHeader(t *testing.T) {
	for _, file := range sources(t) {
		// Generators put their own mark first.
		if !strings.HasPrefix(string(file.content), licence) && !file.generated {
			t.Errorf("%s: the first line must be %q", file.path, strings.TrimSpace(licence))
		}
	}
}

// A package's comment says what it owns and what it must not know, which takes
// more than a line.
func TestPackageComment(t *testing.T) {
	comments := make(map[string]string)
	for _, file := range sources(t) {
		// External test packages speak for the package that they test.
		name := strings.TrimSuffix(file.tree.Name.Name, "_test")
		key := file.dir + " (package " + name + ")"
		if doc := file.tree.Doc.Text(); len(doc) > len(comments[key]) || comments[key] == "" {
			comments[key] = doc
		}
	}
	for key, comment := range comments {
		if strings.Count(strings.TrimSpace(comment), "\n") < 1 {
			t.Errorf("%s: needs a comment that says what it owns and what it must not know", key)
		}
	}
}

const (
	maxFileLines         = 400
	maxFunctionLines     = 60
	maxTestFunctionLines = 100
)

func TestSizes(t *testing.T) {
	for _, file := range sources(t) {
		if file.generated {
			continue
		}
		if !file.test && file.lines > maxFileLines {
			t.Errorf("%s: has %d lines, more than %d: split it by what its parts own", file.path, file.lines, maxFileLines)
		}
		limit := maxFunctionLines
		if file.test {
			limit = maxTestFunctionLines
		}
		for _, declaration := range file.tree.Decls {
			function, ok := declaration.(*ast.FuncDecl)
			if !ok || function.Body == nil {
				continue
			}
			if lines := codeLines(file, function); lines > limit {
				t.Errorf("%s:%d: %s has %d lines, more than %d", file.path, file.line(function.Pos()), function.Name.Name, lines, limit)
			}
		}
	}
}

// codeLines counts a function's lines. The table of a table test is data: its
// lines do not count, however many cases there are.
func codeLines(file *sourceFile, function *ast.FuncDecl) int {
	lines := file.line(function.End()) - file.line(function.Pos()) + 1
	if !file.test {
		return lines
	}
	for _, statement := range function.Body.List {
		assign, ok := statement.(*ast.AssignStmt)
		if !ok || len(assign.Rhs) != 1 {
			continue
		}
		if table, ok := assign.Rhs[0].(*ast.CompositeLit); ok {
			lines -= file.line(table.End()) - file.line(table.Pos())
		}
	}
	return lines
}

// bannedCalls are functions that belong to commands, with the reason.
var bannedCalls = map[string]string{
	"log.Fatal":       "return an error",
	"log.Fatalf":      "return an error",
	"log.Fatalln":     "return an error",
	"log.Print":       "loggers are passed in",
	"log.Printf":      "loggers are passed in",
	"log.Println":     "loggers are passed in",
	"log.Default":     "loggers are passed in",
	"os.Exit":         "return an error; only a command ends the process",
	"fmt.Print":       "write to an io.Writer that is passed in",
	"fmt.Printf":      "write to an io.Writer that is passed in",
	"fmt.Println":     "write to an io.Writer that is passed in",
	"os.Getenv":       "settings come from agent/config",
	"os.LookupEnv":    "settings come from agent/config",
	"os.Environ":      "settings come from agent/config",
	"slog.SetDefault": "loggers are passed in",
	"slog.Default":    "loggers are passed in",
}

// TestCommandsOnly holds that library code neither ends the process nor uses
// what belongs to it.
func TestCommandsOnly(t *testing.T) {
	for _, file := range sources(t) {
		for _, found := range initFunctions(file) {
			t.Error(found)
		}
		if file.tree.Name.Name == "main" || !file.isProduct() {
			continue
		}
		ast.Inspect(file.tree, func(node ast.Node) bool {
			if call, ok := node.(*ast.CallExpr); ok {
				if name := calledName(call); bannedCalls[name] != "" {
					t.Errorf("%s:%d: %s: %s", file.path, file.line(call.Pos()), name, bannedCalls[name])
				}
				if name, ok := call.Fun.(*ast.Ident); ok && name.Name == "panic" {
					t.Errorf("%s:%d: panic: return an error", file.path, file.line(call.Pos()))
				}
			}
			return true
		})
	}
}

func initFunctions(file *sourceFile) []string {
	var found []string
	for _, declaration := range file.tree.Decls {
		function, ok := declaration.(*ast.FuncDecl)
		if ok && function.Recv == nil && function.Name.Name == "init" && !file.generated {
			found = append(found, fmt.Sprintf("%s:%d: init(): what runs at start-up is called by name", file.path, file.line(function.Pos())))
		}
	}
	return found
}

// calledName returns "os.Exit" for a call of a package's function, else "".
func calledName(call *ast.CallExpr) string {
	selector, ok := call.Fun.(*ast.SelectorExpr)
	if !ok {
		return ""
	}
	if owner, ok := selector.X.(*ast.Ident); ok {
		return owner.Name + "." + selector.Sel.Name
	}
	return ""
}
