// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"encoding/binary"
	"fmt"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// QEMU's user network is the same everywhere: the guest may take 10.0.2.15, the
// host's 127.0.0.1 is 10.0.2.2, names are resolved by 10.0.2.3.
const (
	card       = "eth0"
	nameserver = "10.0.2.3"
)

func setUpNetwork() error {
	socket, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("set up network: %w", err)
	}
	defer unix.Close(socket)
	if err := linkUp(socket, "lo"); err != nil {
		return err
	}
	if err := setAddress(socket, unix.SIOCSIFADDR, [4]byte{10, 0, 2, 15}); err != nil {
		return err
	}
	if err := setAddress(socket, unix.SIOCSIFNETMASK, [4]byte{255, 255, 255, 0}); err != nil {
		return err
	}
	if err := linkUp(socket, card); err != nil {
		return err
	}
	if err := addDefaultRoute([4]byte{10, 0, 2, 2}); err != nil {
		return err
	}
	if err := os.WriteFile("/etc/resolv.conf", []byte("nameserver "+nameserver+"\n"), 0o644); err != nil {
		return fmt.Errorf("set up name resolution: %w", err)
	}
	return nil
}

func linkUp(socket int, name string) error {
	request, err := unix.NewIfreq(name)
	if err != nil {
		return fmt.Errorf("network card %s: %w", name, err)
	}
	request.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	if err := unix.IoctlIfreq(socket, unix.SIOCSIFFLAGS, request); err != nil {
		return fmt.Errorf("switch on network card %s: %w", name, err)
	}
	return nil
}

func setAddress(socket int, operation uint, address [4]byte) error {
	request, err := unix.NewIfreq(card)
	if err != nil {
		return fmt.Errorf("network card %s: %w", card, err)
	}
	if err := request.SetInet4Addr(address[:]); err != nil {
		return fmt.Errorf("address %v of %s: %w", address, card, err)
	}
	if err := unix.IoctlIfreq(socket, operation, request); err != nil {
		return fmt.Errorf("give %s the address %v: %w", card, address, err)
	}
	return nil
}

// addDefaultRoute sends one RTM_NEWROUTE: a struct rtmsg with the gateway and
// the card as attributes (rtnetlink(7)).
func addDefaultRoute(gateway [4]byte) error {
	device, err := net.InterfaceByName(card)
	if err != nil {
		return fmt.Errorf("default route: %w", err)
	}
	order := binary.NativeEndian
	body := []byte{
		unix.AF_INET, 0, 0, 0,
		unix.RT_TABLE_MAIN, unix.RTPROT_BOOT, unix.RT_SCOPE_UNIVERSE, unix.RTN_UNICAST,
		0, 0, 0, 0,
	}
	body = order.AppendUint16(body, 8)
	body = order.AppendUint16(body, unix.RTA_GATEWAY)
	body = append(body, gateway[:]...)
	body = order.AppendUint16(body, 8)
	body = order.AppendUint16(body, unix.RTA_OIF)
	body = order.AppendUint32(body, uint32(device.Index))

	message := order.AppendUint32(nil, uint32(unix.SizeofNlMsghdr+len(body)))
	message = order.AppendUint16(message, unix.RTM_NEWROUTE)
	message = order.AppendUint16(message, unix.NLM_F_REQUEST|unix.NLM_F_CREATE|unix.NLM_F_ACK)
	message = order.AppendUint32(message, 1) // sequence
	message = order.AppendUint32(message, 0) // port
	message = append(message, body...)
	return exchange(message)
}

// exchange sends one netlink request and reads its acknowledgement.
func exchange(message []byte) error {
	socket, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("open netlink: %w", err)
	}
	defer unix.Close(socket)
	if err := unix.Sendto(socket, message, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return fmt.Errorf("netlink request: %w", err)
	}
	reply := make([]byte, 4096)
	n, _, err := unix.Recvfrom(socket, reply, 0)
	if err != nil {
		return fmt.Errorf("netlink answer: %w", err)
	}
	if n < unix.SizeofNlMsghdr+4 {
		return fmt.Errorf("netlink answer: %d bytes are too few", n)
	}
	if code := int32(binary.NativeEndian.Uint32(reply[unix.SizeofNlMsghdr:])); code != 0 {
		return fmt.Errorf("netlink request refused: %w", unix.Errno(-code))
	}
	return nil
}
