package main

import (
	"errors"
	"net"
	"testing"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/skep-bpf/skep/internal/linux"
	"github.com/skep-bpf/skep/internal/oracle"
)

// TestOnLinux has the same object deal out in the kernel, to the same workers on
// sockets of their own.
func TestOnLinux(t *testing.T) {
	oracle.Need(t, "bpf(2)", linux.Available())
	const n, clients = 5, 200
	spec, err := ebpf.LoadCollectionSpec(object)
	if err != nil {
		t.Fatal(err)
	}
	if err := spec.Variables["nr_workers"].Set(uint32(n)); err != nil {
		t.Fatal(err)
	}
	coll, err := ebpf.NewCollection(spec)
	if err != nil {
		t.Fatal(err)
	}
	defer coll.Close()

	var conns []net.PacketConn
	addr := "127.0.0.1:0"
	for i := range n {
		var failed error
		c, err := listenShared(addr, func(fd uintptr) {
			failed = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
		})
		if err := errors.Join(err, failed); err != nil {
			t.Fatal(err)
		}
		conns, addr = append(conns, c), c.LocalAddr().String()
		raw, err := c.(*net.UDPConn).SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		raw.Control(func(fd uintptr) {
			failed = coll.Maps["workers"].Put(uint32(i), uint64(fd))
			if i == 0 {
				failed = errors.Join(failed, unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_ATTACH_REUSEPORT_EBPF, coll.Programs["quic_shard"].FD()))
			}
		})
		if failed != nil {
			t.Fatal(failed)
		}
	}
	ws := serveAll(t, conns)
	kept := 0
	for range clients {
		ok, err := client(addr)
		if err != nil {
			t.Fatal(err)
		}
		if ok {
			kept++
		}
	}
	if kept != clients {
		t.Errorf("%d of %d clients were known at their new address", kept, clients)
	}
	for _, w := range ws {
		if served, strange := w.figures(); served == 0 || strange != 0 {
			t.Errorf("worker %d served %d packets and did not know %d", w.number, served, strange)
		}
	}
}
