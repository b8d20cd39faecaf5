// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/slicewatch/slicewatch/test/kubernetes/guestapi"
)

// setUpNetwork takes the address that QEMU's user network expects and the
// kubernetes Service's, and turns on forwarding for pods.
func setUpNetwork(settings guestapi.Settings) error {
	commands := []string{
		"ip link set lo up",
		"ip link set eth0 up",
		"ip address add 10.0.2.15/24 dev eth0",
		"ip route add default via 10.0.2.2",
		"ip address add " + settings.ServiceAddress + "/32 dev lo",
	}
	for _, command := range commands {
		fields := strings.Fields(command)
		if output, err := exec.Command(fields[0], fields[1:]...).CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w: %s", command, err, output)
		}
	}
	if err := os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0o644); err != nil {
		return fmt.Errorf("turn on forwarding: %w", err)
	}
	if err := unix.Sethostname([]byte(settings.NodeName)); err != nil {
		return fmt.Errorf("set the host name: %w", err)
	}
	return nil
}

// forwardService passes connections to the kubernetes Service on to the API
// server, which is what a service proxy would do. It returns with an error
// when it cannot listen any more.
func forwardService(ctx context.Context, settings guestapi.Settings) error {
	address := net.JoinHostPort(settings.ServiceAddress, "443")
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp4", address)
	if err != nil {
		return fmt.Errorf("listen for the kubernetes Service: %w", err)
	}
	for {
		inner, err := listener.Accept()
		if err != nil {
			return fmt.Errorf("accept a connection to the kubernetes Service: %w", err)
		}
		go func() {
			outer, err := net.Dial("tcp4", settings.APIServer)
			if err != nil {
				// The client sees what it would see with the API server down.
				inner.Close()
				return
			}
			join(inner, outer)
		}()
	}
}

// join copies both ways until both are at their end, and closes both.
func join(a, b net.Conn) {
	var both sync.WaitGroup
	for _, pair := range [][2]net.Conn{{a, b}, {b, a}} {
		both.Go(func() {
			_, _ = io.Copy(pair[0], pair[1])
			// The other side may still have something to say.
			if half, ok := pair[0].(interface{ CloseWrite() error }); ok {
				_ = half.CloseWrite()
			} else {
				_ = pair[0].Close()
			}
		})
	}
	both.Wait()
	a.Close()
	b.Close()
}
