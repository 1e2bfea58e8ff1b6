package afpacket_test

import (
	"errors"
	"os"
	"testing"
	"time"

	"github.com/skep-bpf/skep"
	"github.com/skep-bpf/skep/afpacket"
	"github.com/skep-bpf/skep/device"
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/testprog"
)

// engine is what the tests run programs on.
var engine skep.MachineOptions

func TestMain(m *testing.M) { os.Exit(testprog.EachEngine(m, &engine)) }

// TestFlows: both directions of a flow meet one socket, and flows are spread.
func TestFlows(t *testing.T) {
	w := newSkepWorld(t)
	var g []*skepSocket
	for range 4 {
		k, err := w.socket("b", afpacket.Raw, afpacket.All, 0)
		if err != nil {
			t.Fatal(err)
		}
		if err := k.fanout(1, afpacket.FanoutHash, 0); err != nil {
			t.Fatal(err)
		}
		g = append(g, k.(*skepSocket))
	}
	used := map[int]bool{}
	for port := range uint16(32) {
		there := map[int]int{}
		for _, p := range [][]byte{udp(1, 2, 1000+port, 80, 4), udp(2, 1, 80, 1000+port, 4)} {
			if err := w.send("a", frameOf(macB, macA, 0x0800, p)); err != nil {
				t.Fatal(err)
			}
			for i, k := range g {
				for got, err := k.receive(); got != nil || err != nil; got, err = k.receive() {
					there[i]++
					used[i] = true
				}
			}
		}
		if len(there) != 1 {
			t.Errorf("port %d: both directions go to %v", 1000+port, there)
		}
	}
	if len(used) < 3 {
		t.Errorf("32 flows meet %d of 4 sockets", len(used))
	}
}

// TestWaiting: who waits is woken by a packet, a deadline and the end.
func TestWaiting(t *testing.T) {
	w := newSkepWorld(t)
	s, err := afpacket.Open(w.dev["b"], &afpacket.Options{Protocol: afpacket.All, Filter: compiled(t, "udp")})
	if err != nil {
		t.Fatal(err)
	}
	type result struct {
		n   int
		err error
	}
	got := make(chan result)
	receive := func() { n, _, err := s.Receive(make([]byte, 100)); got <- result{n, err} }
	go receive()
	f := variety()[0]
	if err := w.send("a", f); err != nil {
		t.Fatal(err)
	}
	if r := <-got; r.n != len(f) || r.err != nil {
		t.Errorf("received %d bytes, %v", r.n, r.err)
	}
	s.SetReadDeadline(time.Now().Add(time.Millisecond))
	go receive()
	if r := <-got; !errors.Is(r.err, os.ErrDeadlineExceeded) {
		t.Errorf("after the deadline: %v", r.err)
	}
	s.SetReadDeadline(time.Time{})
	go receive()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if r := <-got; !errors.Is(r.err, os.ErrClosed) {
		t.Errorf("at the end: %v", r.err)
	}
	for what, err := range map[string]error{
		"close": s.Close(), "send": s.Send(f), "attach": s.AttachFilter(compiled(t, "ip")), "bind": s.Bind(nil, 0),
	} {
		if !errors.Is(err, os.ErrClosed) {
			t.Errorf("%s after the end: %v", what, err)
		}
	}
	if err := w.send("a", f); err != nil { // nobody is left
		t.Error(err)
	}
	d, err := afpacket.Open(w.dev["b"], &afpacket.Options{Type: afpacket.Datagram, Program: w.load(skep.XDP, "r0 = 2\nexit")})
	if err == nil || d != nil {
		t.Errorf("an XDP program for a filter: %v", err)
	}
}

// TestRemoved: a socket learns that its device is gone.
func TestRemoved(t *testing.T) {
	w := newSkepWorld(t)
	s, err := afpacket.Open(w.dev["b"], &afpacket.Options{Protocol: afpacket.All})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := w.net.Remove(w.dev["a"]); err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.Receive(nil); !errors.Is(err, errno.ENETDOWN) {
		t.Errorf("Receive: %v", err)
	}
	if err := s.Send(variety()[0]); err == nil {
		t.Error("a device that is gone takes packets")
	}
}

// TestStopped: nothing is sent in a network that does not run.
func TestStopped(t *testing.T) {
	m, err := skep.NewMachine(&skep.MachineOptions{CPUs: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	n := device.New(m, nil)
	a, _, err := n.AddPair("a", "b")
	if err != nil {
		t.Fatal(err)
	}
	s, err := afpacket.Open(a, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.Send(variety()[0]); !errors.Is(err, errno.ENOBUFS) {
		t.Errorf("send: %v", err)
	}
}

// TestNothingAllocated: the way of a packet through a filter to its reader.
func TestNothingAllocated(t *testing.T) {
	w := newSkepWorld(t)
	s, err := afpacket.Open(w.dev["b"], &afpacket.Options{Protocol: afpacket.All, Filter: compiled(t, "udp port 80")})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	f, buf := variety()[0], make([]byte, 2048)
	if n := testing.AllocsPerRun(200, func() {
		if err := w.sock.SendTo(f, w.dev["a"], 0, [6]byte{}); err != nil {
			t.Fatal(err)
		}
		if _, _, err := s.Receive(buf); err != nil {
			t.Fatal(err)
		}
	}); n > 0 {
		t.Errorf("%v allocations a packet", n)
	}
}
