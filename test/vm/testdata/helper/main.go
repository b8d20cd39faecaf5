// SPDX-License-Identifier: Apache-2.0

// Command helper is what the tests of package vm run in a machine: there is no
// shell. It owns a few ways to end; it must not know of the machine.
package main

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"
)

func main() {
	if len(os.Args) < 2 {
		os.Exit(64)
	}
	switch os.Args[1] {
	case "say": // OUT ERR STATUS
		fmt.Println(os.Args[2])
		fmt.Fprintln(os.Stderr, os.Args[3])
		status, _ := strconv.Atoi(os.Args[4])
		os.Exit(status)
	case "env":
		fmt.Println(strings.Join(os.Environ(), "\n"))
		dir, _ := os.Getwd()
		fmt.Println("dir=" + dir)
		text, _ := os.ReadFile("/proc/self/cgroup")
		fmt.Print("cgroup=" + string(text))
	case "wait":
		fmt.Println("waiting")
		time.Sleep(time.Hour)
	case "zeros": // MEBIBYTES
		n, _ := strconv.Atoi(os.Args[2])
		_, _ = io.CopyN(os.Stdout, zeros{}, int64(n)<<20)
	case "orphan": // leaves a process behind that holds the output open
		cmd := exec.Command(os.Args[0], "wait")
		cmd.Stdout = os.Stdout
		if err := cmd.Start(); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		fmt.Println(cmd.Process.Pid)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}
