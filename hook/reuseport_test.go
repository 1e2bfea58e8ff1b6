package hook_test

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/skep-bpf/skep"
	"github.com/skep-bpf/skep/hook"
	"github.com/skep-bpf/skep/image"
	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/testprog"
)

// pickFirst chooses place 0 of map 0, and place 1 for a connection that loses its listener.
func pickFirst(attach catalog.AttachType) testprog.Prog {
	return testprog.Prog{Name: "p", Type: catalog.ProgSkReuseport, Attach: attach, Text: `
r6 = r1
*(u32 *)(r10 - 4) = 0
r2 = *(u64 *)(r1 + 48)
if r2 == 0 goto pick
*(u32 *)(r10 - 4) = 1
pick:
r2 = map_idx[0] ll
r3 = r10
r3 += -4
r4 = 0
call sk_select_reuseport
r0 = 1
exit`}
}

func socksMap() []*image.Map {
	return []*image.Map{{Name: "socks", Type: catalog.MapReuseportSockarray, KeySize: 4, ValueSize: 8, MaxEntries: 4}}
}

func TestReuseportWorkers(t *testing.T) {
	m, coll := setup(t, socksMap(), pickFirst(catalog.AttachSkReuseportSelect))
	pc, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g, err := hook.NewReuseport(m, &hook.ReuseportOptions{Conn: pc, Program: coll.Programs["p"], Queue: 2})
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error)
	go func() { served <- g.Serve() }()

	var workers []*hook.ReuseportConn
	for i := range 3 {
		w, err := g.ListenPacket()
		if err != nil {
			t.Fatal(err)
		}
		workers = append(workers, w)
		if i < 2 {
			if err := coll.Maps["socks"].Put(uint32(i), w.Socket()); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := coll.Maps["socks"].Put(uint32(3), workers[0].Socket()); !errors.Is(err, skep.Errno(16)) {
		t.Errorf("a socket in two places: %v", err)
	}
	var cookie uint64
	if err := coll.Maps["socks"].Lookup(uint32(1), &cookie); err != nil || cookie != workers[1].Socket().Cookie {
		t.Errorf("cookie %d of %d: %v", cookie, workers[1].Socket().Cookie, err)
	}

	client, err := net.Dial("udp4", pc.LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	echo := func(w net.PacketConn, text string) {
		t.Helper()
		if _, err := client.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 100)
		n, from, err := w.ReadFrom(b)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.WriteTo(b[:n], from); err != nil {
			t.Fatal(err)
		}
		if n, err := client.Read(b); err != nil || string(b[:n]) != text {
			t.Fatalf("%q back: %v", b[:n], err)
		}
	}
	echo(workers[0], "chosen")
	// A worker that leaves is out of the map, and the hash decides.
	workers[0].Close()
	if err := coll.Maps["socks"].Lookup(uint32(0), &cookie); !errors.Is(err, skep.ErrKeyNotExist) {
		t.Errorf("a closed worker's place: %v", err)
	}
	workers[1].Close()
	echo(workers[2], "the last one")
	if s := g.Stats(); s.ByProgram != 1 || s.ByHash != 1 || s.Dropped != 0 {
		t.Errorf("%+v", s)
	}

	// What does not fit the queue is lost.
	for range 5 {
		if to, err := g.Deliver(netip.MustParseAddrPort("192.0.2.1:9"), []byte("x")); err != nil || to != workers[2].Socket() {
			t.Fatalf("%v %v", to, err)
		}
	}
	if s := g.Stats(); s.Lost != 3 {
		t.Errorf("%d lost, want 3", s.Lost)
	}
	if err := g.Attach(nil); err != nil {
		t.Fatal(err)
	}
	w := workers[2]
	for range 2 {
		if _, _, err := w.ReadFrom(make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
	}
	w.SetDeadline(time.Now().Add(-1))
	if _, _, err := w.ReadFrom(nil); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("after the deadline: %v", err)
	}
	w.SetDeadline(time.Now().Add(time.Millisecond))
	if _, _, err := w.ReadFrom(nil); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("at the deadline: %v", err)
	}
	w.SetDeadline(time.Time{})
	waits := make(chan error)
	go func() { _, _, err := w.ReadFrom(nil); waits <- err }()
	pc.Close()
	if err := <-served; err != nil {
		t.Errorf("Serve: %v", err)
	}
	if err := errors.Join(g.Close(), g.Close()); err != nil {
		t.Error(err)
	}
	if err := <-waits; !errors.Is(err, net.ErrClosed) {
		t.Errorf("a read of a closed worker: %v", err)
	}
	if _, err := g.ListenPacket(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("a worker of a closed group: %v", err)
	}
}

// TestReuseportFrames deals out what devices receive.
func TestReuseportFrames(t *testing.T) {
	m, coll := setup(t, socksMap(), pickFirst(catalog.AttachSkReuseportSelect))
	g, err := hook.NewReuseport(m, &hook.ReuseportOptions{Network: "udp", Local: netip.MustParseAddrPort("192.0.2.1:53"), Program: coll.Programs["p"]})
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	w, err := g.ListenPacket()
	if err != nil {
		t.Fatal(err)
	}
	frame := func(dst string, proto byte, payload string) []byte {
		b := make([]byte, 14+20+8, 14+20+8+len(payload))
		binary.BigEndian.PutUint16(b[12:], 0x0800)
		b[14], b[23] = 0x45, proto
		binary.BigEndian.PutUint16(b[16:], uint16(28+len(payload)))
		at := netip.MustParseAddrPort(dst)
		a := at.Addr().As4()
		copy(b[26:], []byte{198, 51, 100, 7})
		copy(b[30:], a[:])
		binary.BigEndian.PutUint16(b[34:], 999)
		binary.BigEndian.PutUint16(b[36:], at.Port())
		binary.BigEndian.PutUint16(b[38:], uint16(8+len(payload)))
		return append(b, payload...)
	}
	good := frame("192.0.2.1:53", 17, "query")
	to, ok, err := g.DeliverFrame(append(good, 0, 0, 0), hook.Meta{Ifindex: 3}) // with a trailer
	if err != nil || !ok || to != w.Socket() {
		t.Fatalf("%v %v %v", to, ok, err)
	}
	b := make([]byte, 100)
	if n, from, err := w.ReadFromUDPAddrPort(b); err != nil || string(b[:n]) != "query" || from.String() != "198.51.100.7:999" {
		t.Errorf("%q from %s: %v", b[:n], from, err)
	}
	for what, f := range map[string][]byte{
		"other address": frame("192.0.2.2:53", 17, "x"), "other port": frame("192.0.2.1:54", 17, "x"),
		"TCP": frame("192.0.2.1:53", 6, "x"), "cut": good[:38], "ARP": append(make([]byte, 12), 8, 6),
	} {
		if _, ok, err := g.DeliverFrame(f, hook.Meta{}); ok || err != nil {
			t.Errorf("%s is taken: %v", what, err)
		}
	}
	if _, err := w.WriteTo(nil, &net.UDPAddr{}); err == nil || !strings.Contains(err.Error(), "no Conn") {
		t.Errorf("a write of a group without Conn: %v", err)
	}
}

// TestReuseportMigration: connections that wait for a listener which is closed go to
// another where the program may migrate, or the options say so, and are closed elsewhere.
func TestReuseportMigration(t *testing.T) {
	for _, c := range []struct {
		attach  catalog.AttachType
		option  bool
		migrate bool
	}{
		{catalog.AttachSkReuseportSelect, false, false},
		{catalog.AttachSkReuseportSelect, true, true},
		{catalog.AttachSkReuseportSelectOrMigrate, false, true},
	} {
		m, coll := setup(t, socksMap(), pickFirst(c.attach))
		ln, err := net.Listen("tcp4", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer ln.Close()
		g, err := hook.NewReuseport(m, &hook.ReuseportOptions{Conn: ln, Program: coll.Programs["p"], MigrateRequests: c.option})
		if err != nil {
			t.Fatal(err)
		}
		var workers []*hook.ReuseportListener
		for i := range 2 {
			w, err := g.Listen()
			if err != nil {
				t.Fatal(err)
			}
			workers = append(workers, w)
			if err := coll.Maps["socks"].Put(uint32(i), w.Socket()); err != nil {
				t.Fatal(err)
			}
		}
		client, err := net.Dial("tcp4", ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		conn, err := ln.Accept()
		if err != nil {
			t.Fatal(err)
		}
		if to, err := g.DeliverConn(conn); err != nil || to != workers[0].Socket() {
			t.Fatalf("%v %v", to, err)
		}
		workers[0].Close()
		if c.migrate {
			got, err := workers[1].Accept()
			if err != nil || got != conn {
				t.Errorf("%+v: %v %v", c, got, err)
			}
		}
		conn.Close()
		if _, err := io.ReadAll(client); err != nil {
			t.Error(err)
		}
		want := hook.ReuseportStats{ByProgram: 1}
		switch {
		case c.option:
			want.ByHash = 1
		case c.migrate:
			want.ByProgram = 2
		}
		if s := g.Stats(); s != want {
			t.Errorf("%+v: %+v", c, s)
		}
		g.Close()
	}
}

func TestReuseportRefusals(t *testing.T) {
	m, coll := setup(t, nil, xdp("x", "r0 = 2\nexit"))
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	for want, o := range map[string]*hook.ReuseportOptions{
		"network \"\"":         nil,
		"no Local":             {Network: "udp"},
		"of type xdp":          {Conn: ln, Program: coll.Programs["x"]},
		"is no connection":     {Conn: 7},
		"network \"unixgram\"": {Network: "unixgram"},
	} {
		if _, err := hook.NewReuseport(m, o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q, got %v", want, err)
		}
	}
	g, err := hook.NewReuseport(m, &hook.ReuseportOptions{Conn: ln})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := g.ListenPacket(); err == nil || !strings.Contains(err.Error(), "of TCP") {
		t.Errorf("a UDP worker of a TCP group: %v", err)
	}
	c, d := net.Pipe()
	defer c.Close()
	if to, err := g.DeliverConn(d); to != nil || err != nil {
		t.Errorf("a connection for nobody: %v %v", to, err)
	}
}
