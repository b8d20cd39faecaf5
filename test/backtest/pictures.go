// SPDX-License-Identifier: Apache-2.0

package backtest

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// pictured are the traces that pictures are drawn of, one for each thing that
// tells recommenders apart.
var pictured = map[string]bool{
	"steps-5": true, "hourly-batch-3": true, "flash-crowd-4": true, "ec2_cpu_utilization_77c1ca": true,
	"weekly-report-2": true, "deploys-3": true, "leak-2": true,
}

// WritePictures draws some of the traces with what every recommender kept in
// force, as <trace>.svg files.
func (j Judgement) WritePictures(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for _, r := range j.CPU {
		if !pictured[r.Trace.Name] {
			continue
		}
		var inForce [][]Point
		for _, s := range r.Scores {
			inForce = append(inForce, s.Requests)
		}
		if err := j.writePicture(dir, "CPU, cores: ", r.Trace, 1, inForce); err != nil {
			return err
		}
	}
	for _, r := range j.Memory {
		if !pictured[r.Trace.Name] {
			continue
		}
		var inForce [][]Point
		for _, s := range r.Scores {
			inForce = append(inForce, s.Limits)
		}
		if err := j.writePicture(dir, "Memory, MiB: ", r.Trace, mebibyte, inForce); err != nil {
			return err
		}
	}
	return nil
}

func (j Judgement) writePicture(dir, title string, t Trace, unit float64, inForce [][]Point) (err error) {
	file, err := os.Create(filepath.Join(dir, t.Name+".svg"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	if err := WritePicture(file, title+t.Name, t, unit, j.Recommenders, inForce); err != nil {
		return fmt.Errorf("draw %s: %w", t.Name, err)
	}
	return nil
}
