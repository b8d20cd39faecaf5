// SPDX-License-Identifier: Apache-2.0

// Command generate writes what is made from the packages deploy/rules and
// deploy/dashboards: the operators' rule objects, Grafana's JSON and ConfigMaps.
// It owns which file each goes to. It must not know what is in them.
//
//	go run ./deploy/generate     # from the top of the repository
package main

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/slicewatch/slicewatch/deploy/dashboards"
	"github.com/slicewatch/slicewatch/deploy/rules"
)

func main() {
	if err := run("deploy"); err != nil {
		fmt.Fprintln(os.Stderr, "generate:", err)
		os.Exit(1)
	}
}

func run(dir string) error {
	for _, o := range rules.Objects() {
		content, err := rules.Manifest(o)
		if err != nil {
			return err
		}
		if err := write(filepath.Join(dir, "rules", o.File), content); err != nil {
			return err
		}
	}
	all := dashboards.All()
	for _, d := range all {
		content, err := d.JSON()
		if err != nil {
			return err
		}
		if err := write(filepath.Join(dir, "dashboards", d.File()), content); err != nil {
			return err
		}
	}
	content, err := dashboards.ConfigMaps(all)
	if err != nil {
		return err
	}
	if err := write(filepath.Join(dir, "dashboards", "configmaps.yaml"), content); err != nil {
		return err
	}
	return writeChart(filepath.Join(dir, "helm", "slicewatch", "files"), all)
}

// writeChart writes copies of the sources into the chart, which can contain
// nothing that lies outside its directory.
func writeChart(dir string, all []dashboards.Dashboard) error {
	if err := write(filepath.Join(dir, "slicewatch.rules.yaml"), []byte(rules.Source())); err != nil {
		return err
	}
	for _, d := range all {
		content, err := d.JSON()
		if err != nil {
			return err
		}
		if err := write(filepath.Join(dir, d.File()), content); err != nil {
			return err
		}
	}
	return nil
}

func write(path string, content []byte) error {
	if err := os.WriteFile(path, content, 0o644); err != nil {
		return fmt.Errorf("write what is generated: %w", err)
	}
	return nil
}
