// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"bytes"
	"context"
	"debug/elf"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/klauspost/compress/zstd"
)

// Module is one kernel module, decompressed.
type Module struct {
	Name  string
	Image []byte
}

// Modules resolves names to modules in the order of loading, each after those
// that it depends on. What the kernel has built in is left out.
//
// Dependencies come from the modules themselves (the field "depends" of their
// section .modinfo) because modules.dep is made on installation, by depmod, and
// the kernel is only unpacked.
func Modules(ctx context.Context, cfg Config, moduleDir string, names []string) ([]Module, error) {
	tree, err := indexModules(moduleDir)
	if err != nil {
		return nil, err
	}
	r := resolver{tree: tree, load: func(path string) ([]byte, error) { return readModule(ctx, cfg, path) }, state: map[string]int{}}
	for _, name := range names {
		if err := r.add(moduleName(name)); err != nil {
			return nil, fmt.Errorf("kernel module %s: %w", name, err)
		}
	}
	return r.order, nil
}

// moduleTree knows where the modules of one kernel are.
type moduleTree struct {
	builtin map[string]bool
	paths   map[string]string
}

func indexModules(dir string) (moduleTree, error) {
	tree := moduleTree{builtin: map[string]bool{}, paths: map[string]string{}}
	text, err := os.ReadFile(filepath.Join(dir, "modules.builtin"))
	if err != nil {
		return tree, fmt.Errorf("list built-in kernel modules: %w", err)
	}
	for line := range strings.Lines(string(text)) {
		tree.builtin[moduleName(filepath.Base(strings.TrimSpace(line)))] = true
	}
	err = filepath.WalkDir(filepath.Join(dir, "kernel"), func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if !entry.IsDir() && strings.Contains(entry.Name(), ".ko") {
			tree.paths[moduleName(entry.Name())] = path
		}
		return nil
	})
	if err != nil {
		return tree, fmt.Errorf("list kernel modules: %w", err)
	}
	return tree, nil
}

// moduleName is the kernel's own form of a module's name: file names may have
// dashes where the kernel says underscore.
func moduleName(file string) string {
	name, _, _ := strings.Cut(file, ".ko")
	return strings.ReplaceAll(name, "-", "_")
}

// The states of a module while dependencies are resolved.
const (
	moduleUnseen = iota
	moduleOpen
	moduleDone
)

type resolver struct {
	tree  moduleTree
	load  func(path string) ([]byte, error)
	state map[string]int
	order []Module
}

func (r *resolver) add(name string) error {
	switch {
	case r.state[name] == moduleDone || r.tree.builtin[name]:
		return nil
	case r.state[name] == moduleOpen:
		return fmt.Errorf("%s depends on itself", name)
	}
	path, ok := r.tree.paths[name]
	if !ok {
		return fmt.Errorf("this kernel has no module %s", name)
	}
	r.state[name] = moduleOpen
	image, err := r.load(path)
	if err != nil {
		return err
	}
	depends, err := moduleDepends(image)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	for _, dependency := range depends {
		if err := r.add(moduleName(dependency)); err != nil {
			return fmt.Errorf("needed by %s: %w", name, err)
		}
	}
	r.state[name] = moduleDone
	r.order = append(r.order, Module{Name: name, Image: image})
	return nil
}

// moduleDepends reads "depends=a,b" among the NUL-separated fields of .modinfo.
func moduleDepends(image []byte) ([]string, error) {
	file, err := elf.NewFile(bytes.NewReader(image))
	if err != nil {
		return nil, fmt.Errorf("read module: %w", err)
	}
	section := file.Section(".modinfo")
	if section == nil {
		return nil, fmt.Errorf("read module: no section .modinfo")
	}
	info, err := section.Data()
	if err != nil {
		return nil, fmt.Errorf("read module: section .modinfo: %w", err)
	}
	for field := range strings.SplitSeq(string(info), "\x00") {
		if names, ok := strings.CutPrefix(field, "depends="); ok && names != "" {
			return strings.Split(names, ","), nil
		}
	}
	return nil, nil
}

// readModule decompresses on the host, where it is fast, and because 6.1 cannot.
func readModule(ctx context.Context, cfg Config, path string) ([]byte, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read module: %w", err)
	}
	switch filepath.Ext(path) {
	case ".ko":
		return data, nil
	case ".zst":
		decoder, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1))
		if err != nil {
			return nil, fmt.Errorf("decompress %s: %w", path, err)
		}
		defer decoder.Close()
		image, err := decoder.DecodeAll(data, nil)
		if err != nil {
			return nil, fmt.Errorf("decompress %s: %w", path, err)
		}
		return image, nil
	case ".xz":
		return unxz(ctx, cfg, path)
	default:
		return nil, fmt.Errorf("cannot decompress %s", path)
	}
}

// unxz uses the program xz: neither the standard library nor klauspost's has it.
func unxz(ctx context.Context, cfg Config, path string) ([]byte, error) {
	if err := requireTool(ctx, cfg, "xz", "xz-utils"); err != nil {
		return nil, err
	}
	var stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, "xz", "-dc", path)
	cmd.Stderr = &stderr
	image, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("decompress %s: %w\n%s", path, err, stderr.String())
	}
	return image, nil
}
