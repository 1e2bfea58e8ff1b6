package hook_test

import (
	"fmt"
	"log"
	"time"

	"github.com/skep-bpf/skep"
	"github.com/skep-bpf/skep/hook"
)

// A TCP congestion control of an object sees two windows acknowledged and then a loss.
func ExampleCongestion() {
	m, err := skep.NewMachine(nil)
	if err != nil {
		log.Fatal(err)
	}
	defer m.Close()
	coll, err := m.LoadCollectionFile("../examples/congestion/congestion.o")
	if err != nil {
		log.Fatal(err)
	}
	defer coll.Close()
	ops, err := coll.Maps["aimd"].Ops()
	if err != nil {
		log.Fatal(err)
	}
	c, err := hook.NewCongestion(m, ops, 1460)
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	for range 2 {
		c.Ack(hook.Ack{Packets: c.InFlight(), RTT: 20 * time.Millisecond})
		fmt.Println("window", c.Cwnd(), c.State())
	}
	c.Lose(1)
	fmt.Println("threshold", c.Ssthresh(), c.State())
}
