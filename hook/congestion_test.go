package hook_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/skep-bpf/skep"
	"github.com/skep-bpf/skep/hook"
	"github.com/skep-bpf/skep/internal/oracle"
)

// newMachine makes a machine on the engine under test.
func newMachine(t *testing.T) *skep.Machine {
	t.Helper()
	m, err := skep.NewMachine(&skep.MachineOptions{CPUs: 2, Checked: engine.Checked, JIT: engine.JIT})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	return m
}

// A connection goes through what can happen to it: the window, the threshold, what is in flight and the state
// after each event.
func TestCongestion(t *testing.T) {
	oracle.DeclTags(t)
	m := newMachine(t)
	if s, err := m.NewKernelStruct("tcp_sock"); err != nil {
		t.Skipf("not run: %v", err)
	} else {
		s.Close()
	}
	coll, err := m.LoadCollectionFile("../examples/congestion/congestion.o")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(coll.Close)
	const ms = time.Millisecond
	ack := func(n, marked uint32) func(*hook.Congestion) error {
		return func(c *hook.Congestion) error { return c.Ack(hook.Ack{Packets: n, Marked: marked, RTT: ms}) }
	}
	lose := func(n uint32) func(*hook.Congestion) error {
		return func(c *hook.Congestion) error { return c.Lose(n) }
	}
	type step struct {
		what string
		do   func(*hook.Congestion) error
		want string // window, threshold, in flight, state
	}
	for name, steps := range map[string][]step{
		"aimd": {
			{"one window", ack(10, 0), "20 2147483647 20 Open"},
			{"half a window", ack(10, 0), "30 2147483647 30 Open"},
			{"a loss", lose(1), "30 21 30 Recovery"},
			{"duplicates", ack(1, 0), "29 21 29 Recovery"},
			{"the way down", ack(10, 0), "21 21 21 Recovery"},
			{"all before the loss", ack(19, 0), "21 21 21 Open"},
			{"a timeout", (*hook.Congestion).Timeout, "1 14 1 Loss"},
			{"another", (*hook.Congestion).Timeout, "1 14 1 Loss"},
			{"something came back", ack(1, 0), "2 14 2 Loss"},
			{"a third", (*hook.Congestion).Timeout, "1 2 1 Loss"},
			{"it was late", (*hook.Congestion).Undo, "2 14 20 Open"},
			{"nothing to undo", (*hook.Congestion).Undo, "2 14 20 Open"},
		},
		"dctcp": {
			{"one window", ack(10, 0), "20 2147483647 20 Open"},
			{"a mark", ack(20, 20), "11 11 11 CWR"},
			{"no mark in half a window", ack(5, 0), "11 11 11 Open"},
			{"the rest", ack(11, 0), "12 11 12 Open"},
			{"half are marked", ack(12, 6), "8 8 8 CWR"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			ops, err := coll.Maps[name].Ops()
			if err != nil {
				t.Fatal(err)
			}
			c, err := hook.NewCongestion(m, ops, 0)
			if err != nil {
				t.Fatal(err)
			}
			for _, s := range steps {
				if err := s.do(c); err != nil {
					t.Fatalf("%s: %v", s.what, err)
				}
				if got := fmt.Sprint(c.Cwnd(), c.Ssthresh(), c.InFlight(), " ", c.State()); strings.Join(strings.Fields(got), " ") != s.want {
					t.Errorf("%s: %s; want %s", s.what, got, s.want)
				}
			}
			if c.Ack(hook.Ack{Packets: 1000}) == nil || c.Ack(hook.Ack{}) == nil || c.Ack(hook.Ack{Packets: 1, Marked: 2}) == nil || c.Lose(0) == nil || c.Lose(1000) == nil {
				t.Error("more was acknowledged or lost than sent")
			}
			if err := c.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}
