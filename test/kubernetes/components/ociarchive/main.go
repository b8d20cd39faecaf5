// SPDX-License-Identifier: Apache-2.0

// Command ociarchive packs files into an OCI image archive of one layer,
// without a registry or a container engine.
//
//	ociarchive -name=NAME:TAG -arch=ARCH -entrypoint=PATH -out=FILE.tar DIRECTORY
//
// DIRECTORY becomes the root of the image. The same files give the same
// bytes. `ctr images import` knows the image as NAME:TAG afterwards.
package main

import (
	"archive/tar"
	"bytes"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// image says what to pack and how it is to be known.
type image struct {
	name, arch, entrypoint, user string
	directory                    string
}

func main() {
	var i image
	flag.StringVar(&i.name, "name", "", "name and tag of the image")
	flag.StringVar(&i.arch, "arch", "arm64", "architecture of the image")
	flag.StringVar(&i.entrypoint, "entrypoint", "", "program that the image runs")
	flag.StringVar(&i.user, "user", "", "user that the program runs as; empty means root")
	out := flag.String("out", "", "archive to write")
	flag.Parse()
	if flag.NArg() != 1 || i.name == "" || i.entrypoint == "" || *out == "" {
		fmt.Fprintln(os.Stderr, "usage: ociarchive -name=NAME:TAG -entrypoint=PATH -out=FILE.tar [-arch=ARCH] [-user=USER] DIRECTORY")
		os.Exit(2)
	}
	i.directory = flag.Arg(0)
	if err := i.write(*out); err != nil {
		fmt.Fprintln(os.Stderr, "ociarchive:", err)
		os.Exit(1)
	}
}

func (i image) write(out string) error {
	built, err := i.build()
	if err != nil {
		return fmt.Errorf("build image %s from %s: %w", i.name, i.directory, err)
	}
	temporary, err := os.MkdirTemp(filepath.Dir(out), ".ociarchive-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(temporary)
	target, err := layout.Write(temporary, empty.Index)
	if err != nil {
		return fmt.Errorf("write image layout of %s: %w", i.name, err)
	}
	_, tag, _ := strings.Cut(i.name, ":")
	annotations := map[string]string{
		// containerd takes the image's name from the first of these.
		"io.containerd.image.name":          i.name,
		"org.opencontainers.image.ref.name": tag,
	}
	if err := target.AppendImage(built, layout.WithAnnotations(annotations)); err != nil {
		return fmt.Errorf("write image layout of %s: %w", i.name, err)
	}
	archive, err := pack(temporary)
	if err != nil {
		return fmt.Errorf("pack image %s: %w", i.name, err)
	}
	unfinished := out + ".unfinished"
	if err := os.WriteFile(unfinished, archive, 0o644); err != nil {
		return err
	}
	return os.Rename(unfinished, out)
}

func (i image) build() (v1.Image, error) {
	content, err := pack(i.directory)
	if err != nil {
		return nil, err
	}
	layer, err := tarball.LayerFromOpener(
		func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(content)), nil },
		tarball.WithMediaType(types.OCILayer))
	if err != nil {
		return nil, err
	}
	base := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	built, err := mutate.AppendLayers(base, layer)
	if err != nil {
		return nil, err
	}
	file, err := built.ConfigFile()
	if err != nil {
		return nil, err
	}
	file = file.DeepCopy()
	file.OS, file.Architecture = "linux", i.arch
	file.Config.Entrypoint = []string{i.entrypoint}
	file.Config.User = i.user
	file.Config.Env = []string{"PATH=/bin:/sbin:/usr/bin:/usr/sbin"}
	return mutate.ConfigFile(built, file)
}

// pack returns a tar archive of everything below directory, in the order of
// names, owned by root and without times.
func pack(directory string) ([]byte, error) {
	var buffer bytes.Buffer
	archive := tar.NewWriter(&buffer)
	err := filepath.WalkDir(directory, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || path == directory {
			return err
		}
		return packEntry(archive, directory, path, entry)
	})
	if err != nil {
		return nil, err
	}
	if err := archive.Close(); err != nil {
		return nil, err
	}
	return buffer.Bytes(), nil
}

func packEntry(archive *tar.Writer, directory, path string, entry fs.DirEntry) error {
	info, err := entry.Info()
	if err != nil {
		return err
	}
	link := ""
	if info.Mode()&fs.ModeSymlink != 0 {
		if link, err = os.Readlink(path); err != nil {
			return err
		}
	}
	name, err := filepath.Rel(directory, path)
	if err != nil {
		return err
	}
	if info.IsDir() {
		name += "/"
	}
	header := &tar.Header{
		Name: name, Linkname: link, Mode: int64(info.Mode().Perm()), Size: info.Size(), Typeflag: tar.TypeReg,
	}
	switch {
	case info.IsDir():
		header.Typeflag, header.Size = tar.TypeDir, 0
	case link != "":
		header.Typeflag, header.Size = tar.TypeSymlink, 0
	case !info.Mode().IsRegular():
		return fmt.Errorf("%s is neither file, directory nor link", path)
	}
	if err := archive.WriteHeader(header); err != nil {
		return err
	}
	if header.Typeflag != tar.TypeReg {
		return nil
	}
	content, err := os.Open(path)
	if err != nil {
		return err
	}
	defer content.Close()
	_, err = io.Copy(archive, content)
	return err
}
