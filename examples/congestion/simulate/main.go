// Command simulate takes a TCP congestion control of an object file through what happens to a connection, and prints
// what it makes of it:
//
//	simulate congestion.o aimd 'ack ack ack lose ack*30'
package main

import (
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/skep-bpf/skep"
	"github.com/skep-bpf/skep/hook"
)

func main() {
	if len(os.Args) != 4 {
		fmt.Fprintln(os.Stderr, "usage: simulate OBJECT NAME EVENTS\nEVENTS are words: ack (a whole window), mark (one with half its packets marked), lose, timeout, undo; WORD*N is N of them")
		os.Exit(2)
	}
	if err := simulate(os.Stdout, os.Args[1], os.Args[2], os.Args[3]); err != nil {
		fmt.Fprintln(os.Stderr, "simulate:", err)
		os.Exit(1)
	}
}

func simulate(w io.Writer, object, name, events string) error {
	m, err := skep.NewMachine(nil)
	if err != nil {
		return err
	}
	defer m.Close()
	coll, err := m.LoadCollectionFile(object)
	if err != nil {
		return err
	}
	defer coll.Close()
	mp := coll.Maps[name]
	if mp == nil {
		return fmt.Errorf("%s has no congestion control %s", object, name)
	}
	ops, err := mp.Ops()
	if err != nil {
		return err
	}
	link, err := ops.Attach()
	if err != nil {
		return err
	}
	defer link.Close()
	c, err := hook.NewCongestion(m, ops, 0)
	if err != nil {
		return err
	}
	defer c.Close()
	fmt.Fprintf(w, "%s: %s\n\nevent     cwnd  ssthresh  in flight  state\n", ops.Name(), strings.Join(ops.Members(), ", "))
	show(w, "", c)
	for _, word := range strings.Fields(events) {
		word, times, _ := strings.Cut(word, "*")
		n := 1
		if times != "" {
			if n, err = strconv.Atoi(times); err != nil {
				return fmt.Errorf("%s*%s: not a number", word, times)
			}
		}
		for range n {
			if err := happen(c, word); err != nil {
				return fmt.Errorf("%s: %w", word, err)
			}
			show(w, word, c)
		}
	}
	return c.Close()
}

// happen has one event happen.
func happen(c *hook.Congestion, event string) error {
	const rtt = 20 * time.Millisecond
	flight := c.InFlight()
	switch event {
	case "ack":
		return c.Ack(hook.Ack{Packets: flight, RTT: rtt})
	case "mark":
		return c.Ack(hook.Ack{Packets: flight, Marked: flight / 2, RTT: rtt})
	case "lose":
		return c.Lose(1)
	case "timeout":
		return c.Timeout()
	case "undo":
		return c.Undo()
	}
	return fmt.Errorf("no such event")
}

func show(w io.Writer, event string, c *hook.Congestion) {
	ssthresh := "infinite"
	if v := c.Ssthresh(); v < 0x7fffffff {
		ssthresh = strconv.Itoa(int(v))
	}
	fmt.Fprintf(w, "%-8s  %4d  %8s  %9d  %s\n", event, c.Cwnd(), ssthresh, c.InFlight(), c.State())
}
