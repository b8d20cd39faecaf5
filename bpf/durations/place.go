// SPDX-License-Identifier: Apache-2.0

package durations

import (
	"fmt"

	"github.com/cilium/ebpf"
)

// Place is where containers are: the ids of the cgroup above all pods and of
// the classes that have one. 0 is what does not exist.
type Place struct {
	Kubepods uint64
	Classes  [2]uint64
}

// setPlace tells a program. A container that appears before its class is told
// is taken for a pod: the classes come first.
func setPlace(c *ebpf.Collection, place Place) error {
	if c == nil {
		return nil
	}
	if err := c.Variables["class_ids"].Set(place.Classes); err != nil {
		return fmt.Errorf("tell the program of the classes: %w", err)
	}
	if err := c.Variables["kubepods_id"].Set(place.Kubepods); err != nil {
		return fmt.Errorf("tell the program of kubepods: %w", err)
	}
	return nil
}

// number returns a counter that a program keeps; 0 without the program.
func number(c *ebpf.Collection, name string) uint64 {
	var n uint64
	if c == nil || c.Variables[name].Get(&n) != nil {
		return 0
	}
	return n
}
