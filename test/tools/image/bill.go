// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"runtime/debug"
	"strings"
	"time"
)

// What SPDX 2.3 wants of a document, https://spdx.github.io/spdx-spec/v2.3.
type document struct {
	Version       string         `json:"spdxVersion"`
	License       string         `json:"dataLicense"`
	ID            string         `json:"SPDXID"`
	Name          string         `json:"name"`
	Namespace     string         `json:"documentNamespace"`
	Creation      creation       `json:"creationInfo"`
	Packages      []spdxPackage  `json:"packages"`
	Relationships []relationship `json:"relationships"`
}

type creation struct {
	Created  string   `json:"created"`
	Creators []string `json:"creators"`
}

type spdxPackage struct {
	ID        string      `json:"SPDXID"`
	Name      string      `json:"name"`
	Version   string      `json:"versionInfo"`
	Download  string      `json:"downloadLocation"`
	Analyzed  bool        `json:"filesAnalyzed"`
	Checksums []checksum  `json:"checksums,omitempty"`
	License   string      `json:"licenseDeclared"`
	Refs      []reference `json:"externalRefs,omitempty"`
}

type checksum struct {
	Algorithm string `json:"algorithm"`
	Value     string `json:"checksumValue"`
}

type reference struct {
	Category string `json:"referenceCategory"`
	Type     string `json:"referenceType"`
	Locator  string `json:"referenceLocator"`
}

type relationship struct {
	Element string `json:"spdxElementId"`
	Type    string `json:"relationshipType"`
	Related string `json:"relatedSpdxElement"`
}

const (
	noAssertion = "NOASSERTION"
	programID   = "SPDXRef-slicewatch"
)

// billOfMaterials lists the Go modules and the Go release that are linked into
// the program, as the linker wrote them down in it, in SPDX.
func (r release) billOfMaterials(arch string, program []byte) ([]byte, error) {
	info, err := buildinfo.Read(bytes.NewReader(program))
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(program)
	digest := hex.EncodeToString(sum[:])
	d := document{
		Version: "SPDX-2.3", License: "CC0-1.0", ID: "SPDXRef-DOCUMENT", Name: "slicewatch-linux-" + arch,
		Namespace: "https://slicewatch.invalid/spdx/" + digest,
		Creation:  creation{Created: r.created.Format(time.RFC3339), Creators: []string{"Tool: slicewatch-image"}},
		Packages: []spdxPackage{{
			ID: programID, Name: "slicewatch", Version: r.version, Download: noAssertion, License: "Apache-2.0",
			Checksums: []checksum{{"SHA256", digest}},
			Refs:      []reference{purl(info.Main.Path, r.version)},
		}},
		Relationships: []relationship{{"SPDXRef-DOCUMENT", "DESCRIBES", programID}},
	}
	parts := []*debug.Module{{Path: "stdlib", Version: strings.TrimPrefix(info.GoVersion, "go")}}
	for i, module := range append(parts, info.Deps...) {
		if module.Replace != nil {
			module = module.Replace
		}
		id := fmt.Sprintf("SPDXRef-module-%d", i)
		d.Packages = append(d.Packages, spdxPackage{
			ID: id, Name: module.Path, Version: module.Version, Download: noAssertion, License: noAssertion,
			Refs: []reference{purl(module.Path, module.Version)},
		})
		d.Relationships = append(d.Relationships, relationship{programID, "DEPENDS_ON", id})
	}
	text, err := json.MarshalIndent(d, "", "  ")
	return append(text, '\n'), err
}

// purl names a Go module as vulnerability scanners look it up.
func purl(path, version string) reference {
	return reference{"PACKAGE-MANAGER", "purl", "pkg:golang/" + path + "@" + version}
}
