package xsk_test

import (
	"net"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"github.com/skep-bpf/skep/internal/oracle"
	"github.com/skep-bpf/skep/internal/oracle/netns"
	"github.com/skep-bpf/skep/xsk"
)

// inNamespace runs f in a network namespace with a veth pair x and y, and a world
// of the kernel at x.
func inNamespace(t *testing.T, object string, f func(*world)) {
	t.Helper()
	netns.In(t, func() {
		netns.Pair(t, "x", "y", 1)
		w, end := kernelWorld(t, object)
		defer end()
		f(w)
	})
}

func kernelWorld(t *testing.T, object string) (*world, func()) {
	spec, err := ebpf.LoadCollectionSpec(object)
	if err != nil {
		t.Fatal(err)
	}
	coll, err := ebpf.NewCollection(spec)
	oracle.Need(t, "loading into the kernel", err)
	x, err := net.InterfaceByName("x")
	oracle.Need(t, "x", err)
	y, err := net.InterfaceByName("y")
	oracle.Need(t, "y", err)
	var hooks []link.Link
	for _, p := range coll.Programs {
		h, err := link.AttachXDP(link.XDPOptions{Program: p, Interface: x.Index, Flags: link.XDPDriverMode})
		oracle.Need(t, "XDP on veth", err)
		hooks = append(hooks, h)
	}
	// What the test sends at y is not to come back to it from there.
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	oracle.Need(t, "a packet socket", err)
	err = unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1)
	if err == nil {
		err = unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: 0x0300, Ifindex: y.Index}) // ETH_P_ALL in network order
	}
	oracle.Need(t, "a packet socket", err)
	timeout := unix.NsecToTimeval(5e9)
	unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &timeout)
	return &world{
			name: "linux",
			open: func(q int, o *xsk.Options) (*xsk.Socket, error) { return xsk.OpenInterface("x", q, o) },
			put:  func(key uint32, s *xsk.Socket) error { return coll.Maps["xsks"].Put(key, s) },
			in: func(f []byte) {
				if _, err := unix.Write(fd, f); err != nil {
					t.Error(err)
				}
			},
			out: func() []byte {
				buf := make([]byte, 4096)
				n, err := unix.Read(fd, buf)
				if err != nil {
					t.Errorf("nothing came out: %v", err)
				}
				return buf[:max(n, 0)]
			},
		}, func() {
			for _, h := range hooks {
				h.Close()
			}
			coll.Close()
			unix.Close(fd)
		}
}

// TestLinux does on the kernel's sockets what the tests do on skep's.
func TestLinux(t *testing.T) {
	for name, f := range shared {
		t.Run(name, func(t *testing.T) {
			inNamespace(t, forwardObject, func(w *world) { f(t, w) })
		})
	}
}
