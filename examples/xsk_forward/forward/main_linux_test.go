package main

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/skep-bpf/skep/internal/oracle"
)

// TestInterfaces answers and forwards the same packets in the kernel, over veth.
func TestInterfaces(t *testing.T) {
	ip := oracle.Tool(t, "ip")
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
			done := make(chan struct{})
			go func() {
				defer close(done)
				runtime.LockOSThread() // never unlocked: the thread ends with its namespace
				oracle.Need(t, "a network namespace", unix.Unshare(unix.CLONE_NEWNET))
				for _, args := range []string{
					"link add x numrxqueues 1 numtxqueues 1 type veth peer name y numrxqueues 1 numtxqueues 1",
					"link add v numrxqueues 1 numtxqueues 1 type veth peer name w numrxqueues 1 numtxqueues 1",
				} {
					run(t, ip, args)
				}
				for _, d := range []string{"x", "y", "v", "w"} {
					run(t, ip, "link set "+d+" addrgenmode none")
					run(t, ip, "link set "+d+" up")
				}
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
			}()
			<-done
		})
	}
}

func run(t *testing.T, tool, args string) {
	if out, err := exec.Command(tool, strings.Fields(args)...).CombinedOutput(); err != nil {
		oracle.Need(t, "veth pairs", fmt.Errorf("%s %s: %w: %s", tool, args, err, out))
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
