package main

import (
	"context"
	"io"
	"net"
	"os"
	"syscall"
	"testing"

	"github.com/skep-bpf/skep/internal/testprog"
)

func TestMain(m *testing.M) { os.Exit(testprog.EachEngine(m, &machine)) }

const object = "../quic_shard.o"

// TestClientsKeepTheirWorker: with the program every client does, without it by luck alone.
func TestClientsKeepTheirWorker(t *testing.T) {
	const workers, clients = 5, 200
	ws, kept, err := try(object, true, workers, clients)
	if err != nil {
		t.Fatal(err)
	}
	if kept != clients {
		t.Errorf("%d of %d clients were known at their new address", kept, clients)
	}
	for _, w := range ws {
		served, strange := w.figures()
		if served == 0 || strange != 0 {
			t.Errorf("worker %d served %d packets and did not know %d", w.number, served, strange)
		}
	}
	if _, kept, err = try(object, false, workers, clients); err != nil || kept == clients {
		t.Errorf("without the program %d of %d clients were known: %v", kept, clients, err)
	}
}

// TestNoQUICIsDropped: what has no connection ID is for nobody, and counted.
func TestNoQUICIsDropped(t *testing.T) {
	for _, c := range shapes() {
		m, g, coll := oneWorker(t)
		to, err := g.Deliver(from, c.packet)
		if err != nil || (to != nil) != c.taken {
			t.Errorf("%s: to %v, %v", c.name, to, err)
		}
		var counts [4][]uint64
		for i := range counts {
			if err := coll.Maps["counters"].Lookup(uint32(i), &counts[i]); err != nil {
				t.Fatal(err)
			}
			sum := uint64(0)
			for _, n := range counts[i] {
				sum += n
			}
			if want := i == c.counter; (sum == 1) != want {
				t.Errorf("%s: counter %d is %d", c.name, i, sum)
			}
		}
		coll.Close()
		g.Close()
		m.Close()
	}
}

// serveAll serves workers in the background until they are closed.
func serveAll(t *testing.T, conns []net.PacketConn) (ws []*worker) {
	for i, c := range conns {
		w := newWorker(i, len(conns), c)
		ws = append(ws, w)
		go w.serve()
		t.Cleanup(func() { c.(io.Closer).Close() })
	}
	return ws
}

// listenShared is net.ListenPacket with SO_REUSEPORT set before the socket is bound.
func listenShared(addr string, control func(fd uintptr)) (net.PacketConn, error) {
	lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error { return c.Control(control) }}
	return lc.ListenPacket(context.Background(), "udp4", addr)
}
