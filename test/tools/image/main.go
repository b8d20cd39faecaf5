// SPDX-License-Identifier: Apache-2.0

// Command image packs the agent's binaries, one for each architecture, into
// one OCI image layout, without a registry or a container engine.
//
//	image -version=V -revision=R -created=SECONDS -out=DIRECTORY amd64=BINARY arm64=BINARY
//
// DIRECTORY gets slicewatch.oci, a layout with one index of all architectures;
// slicewatch.oci.tar, the same as an archive; slicewatch.digest and
// slicewatch.tag; slicewatch-ARCH.spdx.json, a list of what each binary is made
// from. The same input gives the same bytes.
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// release is what all architectures have in common.
type release struct {
	version, revision string
	created           time.Time
}

// binary is the agent for one architecture.
type binary struct{ arch, path string }

func main() {
	var r release
	flag.StringVar(&r.version, "version", "", "version of the agent")
	flag.StringVar(&r.revision, "revision", "", "commit of the agent")
	created := flag.Int64("created", 0, "when the source was made, in seconds since 1970 (SOURCE_DATE_EPOCH)")
	out := flag.String("out", "", "directory to write to")
	flag.Parse()
	r.created = time.Unix(*created, 0).UTC()
	binaries, ok := parseBinaries(flag.Args())
	if !ok || r.version == "" || *out == "" {
		fmt.Fprintln(os.Stderr, "usage: image -version=V -revision=R -created=SECONDS -out=DIRECTORY ARCH=BINARY...")
		os.Exit(2)
	}
	tag, err := r.write(*out, binaries)
	if err != nil {
		fmt.Fprintln(os.Stderr, "image:", err)
		os.Exit(1)
	}
	fmt.Println(filepath.Join(*out, layoutName), tag)
}

func parseBinaries(arguments []string) (binaries []binary, ok bool) {
	for _, argument := range arguments {
		arch, path, found := strings.Cut(argument, "=")
		if !found || arch == "" || path == "" {
			return nil, false
		}
		binaries = append(binaries, binary{arch, path})
	}
	return binaries, len(binaries) > 0
}

const layoutName = "slicewatch.oci"

// write writes everything below directory and returns the tag.
func (r release) write(directory string, binaries []binary) (string, error) {
	var images []v1.Image
	for _, b := range binaries {
		content, err := os.ReadFile(b.path)
		if err != nil {
			return "", err
		}
		bill, err := r.billOfMaterials(b.arch, content)
		if err != nil {
			return "", fmt.Errorf("list what %s is made from: %w", b.path, err)
		}
		if err := os.WriteFile(filepath.Join(directory, "slicewatch-"+b.arch+".spdx.json"), bill, 0o644); err != nil {
			return "", err
		}
		image, err := r.image(b.arch, content, bill)
		if err != nil {
			return "", fmt.Errorf("make the image of %s: %w", b.path, err)
		}
		images = append(images, image)
	}
	index, err := r.index(binaries, images)
	if err != nil {
		return "", err
	}
	digest, err := index.Digest()
	if err != nil {
		return "", err
	}
	tag := r.tag(digest)
	if err := writeLayout(filepath.Join(directory, layoutName), index, tag); err != nil {
		return "", err
	}
	for name, text := range map[string]string{"slicewatch.tag": tag, "slicewatch.digest": digest.String()} {
		if err := os.WriteFile(filepath.Join(directory, name), []byte(text+"\n"), 0o644); err != nil {
			return "", err
		}
	}
	return tag, writeArchive(filepath.Join(directory, layoutName+".tar"), filepath.Join(directory, layoutName))
}

// notInTags is what a version may have and a tag may not.
var notInTags = regexp.MustCompile(`[^A-Za-z0-9._-]`)

// tag returns a tag that belongs to this content alone: nobody can have made
// another image under it beforehand, and one that was moved shows.
func (r release) tag(digest v1.Hash) string {
	const digits = 12
	version := notInTags.ReplaceAllString(r.version, "_")
	return version[:min(len(version), 100)] + "-" + digest.Hex[:digits]
}

func (r release) index(binaries []binary, images []v1.Image) (v1.ImageIndex, error) {
	index := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for i, image := range images {
		index = mutate.AppendManifests(index, mutate.IndexAddendum{
			Add:        image,
			Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: binaries[i].arch}},
		})
	}
	annotated, ok := mutate.Annotations(index, r.labels()).(v1.ImageIndex)
	if !ok {
		return nil, fmt.Errorf("annotate the index: it is none any more")
	}
	return annotated, nil
}

func writeLayout(directory string, index v1.ImageIndex, tag string) error {
	if err := os.RemoveAll(directory); err != nil {
		return err
	}
	target, err := layout.Write(directory, empty.Index)
	if err != nil {
		return fmt.Errorf("write the image layout %s: %w", directory, err)
	}
	err = target.AppendIndex(index, layout.WithAnnotations(map[string]string{
		// containerd takes the image's name from the first of these, as it is: the
		// short name, which its CRI service spells out, would not be found again.
		"io.containerd.image.name":          "docker.io/library/slicewatch:" + tag,
		"org.opencontainers.image.ref.name": tag,
	}))
	if err != nil {
		return fmt.Errorf("write the image layout %s: %w", directory, err)
	}
	return nil
}
