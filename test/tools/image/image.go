// SPDX-License-Identifier: Apache-2.0

package main

import (
	"archive/tar"
	"bytes"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// labels returns the pre-defined annotation keys of the OCI image
// specification that have a value here; the Dockerfile has the same.
func (r release) labels() map[string]string {
	return map[string]string{
		"org.opencontainers.image.title":       "slicewatch",
		"org.opencontainers.image.description": "Per-pod CPU, memory, pressure and throttling from cgroup v2, for Prometheus",
		"org.opencontainers.image.licenses":    "Apache-2.0",
		"org.opencontainers.image.version":     r.version,
		"org.opencontainers.image.revision":    r.revision,
		"org.opencontainers.image.created":     r.created.Format(time.RFC3339),
	}
}

// image returns the image of one architecture: the program, and the list of
// what it is made from, where scanners look for one.
func (r release) image(arch string, program, bill []byte) (v1.Image, error) {
	content, err := r.layer(program, bill)
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
	built, err := mutate.Append(base, mutate.Addendum{
		Layer: layer, History: v1.History{CreatedBy: "make image", Created: v1.Time{Time: r.created}},
	})
	if err != nil {
		return nil, err
	}
	file, err := built.ConfigFile()
	if err != nil {
		return nil, err
	}
	file = file.DeepCopy()
	file.OS, file.Architecture, file.Created = "linux", arch, v1.Time{Time: r.created}
	file.Config.Entrypoint = []string{"/slicewatch"}
	file.Config.User = "0:0"
	file.Config.ExposedPorts = map[string]struct{}{"9779/tcp": {}}
	file.Config.Env = []string{"PATH=/"}
	file.Config.Labels = r.labels()
	return mutate.ConfigFile(built, file)
}

func (r release) layer(program, bill []byte) ([]byte, error) {
	var buffer bytes.Buffer
	archive := tar.NewWriter(&buffer)
	for _, file := range []struct {
		name    string
		mode    int64
		content []byte
	}{
		{"slicewatch", 0o755, program},
		{"slicewatch.spdx.json", 0o644, bill},
	} {
		header := &tar.Header{
			Name: file.name, Typeflag: tar.TypeReg, Mode: file.mode, Size: int64(len(file.content)), ModTime: r.created, Format: tar.FormatPAX,
		}
		if err := archive.WriteHeader(header); err != nil {
			return nil, err
		}
		if _, err := archive.Write(file.content); err != nil {
			return nil, err
		}
	}
	if err := archive.Close(); err != nil {
		return nil, err
	}
	return buffer.Bytes(), nil
}

// writeArchive packs a layout, in the order of names and without times.
func writeArchive(path, directory string) error {
	unfinished := path + ".unfinished"
	out, err := os.Create(unfinished)
	if err != nil {
		return err
	}
	defer out.Close()
	archive := tar.NewWriter(out)
	err = filepath.WalkDir(directory, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		name, err := filepath.Rel(directory, path)
		if err != nil {
			return err
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if err := archive.WriteHeader(&tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o644, Size: int64(len(content))}); err != nil {
			return err
		}
		_, err = archive.Write(content)
		return err
	})
	if err != nil {
		return err
	}
	if err := archive.Close(); err != nil {
		return err
	}
	if err := out.Close(); err != nil {
		return err
	}
	return os.Rename(unfinished, path)
}
