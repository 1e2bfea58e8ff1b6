package main

import (
	"bytes"
	"context"
	"net"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/skep-bpf/skep/internal/oracle"
	"github.com/skep-bpf/skep/internal/oracle/netns"
)

// TestInterfaces answers and forwards the same packets in the kernel, over veth.
func TestInterfaces(t *testing.T) {
	in, answers := udp(t, dns)
	for _, c := range []struct {
		name, to, sent, got string
		want                [][]byte
	}{
		{"answer", "", "y", "y", answers},
		{"forward", "v", "y", "w", in},
		{"back", "v", "w", "y", in},
	} {
		t.Run(c.name, func(t *testing.T) {
			netns.In(t, func() {
				netns.Pair(t, "x", "y", 1)
				netns.Pair(t, "v", "w", 1)
				send, receive := packetSocket(t, c.sent), packetSocket(t, c.got)
				defer unix.Close(send)
				defer unix.Close(receive)
				ctx, cancel := context.WithCancel(t.Context())
				n, err := interfaces(ctx, "x", c.to, func() {
					go func() {
						defer cancel()
						buf := make([]byte, 4096)
						for i, f := range in {
							if _, err := unix.Write(send, f); err != nil {
								t.Error(err)
							}
							if got, err := unix.Read(receive, buf); err != nil || !bytes.Equal(buf[:got], c.want[i]) {
								t.Errorf("packet %d: % x, %v, want % x", i, buf[:max(got, 0)], err, c.want[i])
							}
						}
					}()
				})
				if n != len(in) || err != nil {
					t.Errorf("%d packets were sent, %v", n, err)
				}
			})
		})
	}
}

// packetSocket is a socket on a device, which gets what comes in there.
func packetSocket(t *testing.T, name string) int {
	iface, err := net.InterfaceByName(name)
	oracle.Need(t, name, err)
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	oracle.Need(t, "a packet socket", err)
	err = unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1)
	if err == nil {
		err = unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: 0x0300, Ifindex: iface.Index}) // ETH_P_ALL in network order
	}
	oracle.Need(t, "a packet socket", err)
	timeout := unix.NsecToTimeval(5e9)
	unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &timeout)
	return fd
}
