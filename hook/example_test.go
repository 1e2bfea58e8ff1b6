package hook_test

import (
	"fmt"
	"log"

	"github.com/skep-bpf/skep"
	"github.com/skep-bpf/skep/hook"
)

// An XDP program meets a packet that comes in on a device, and the hook says where it goes.
func ExampleXDP() {
	m, err := skep.NewMachine(nil)
	if err != nil {
		log.Fatal(err)
	}
	defer m.Close()
	coll, err := m.LoadCollectionFile("../examples/firewall/firewall.o")
	if err != nil {
		log.Fatal(err)
	}
	defer coll.Close()
	xdp, err := hook.NewXDP(m, coll.Programs["firewall"], nil)
	if err != nil {
		log.Fatal(err)
	}
	defer xdp.Close()

	packet := make([]byte, 64)
	action, deliveries, err := xdp.Run(packet, hook.Meta{Ifindex: 2})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(action)
	for _, d := range deliveries { // none for a packet that was dropped, several for one that was broadcast
		fmt.Println(d.To, len(d.Packet), "bytes")
	}
	// Output:
	// XDP_PASS
	// stack 64 bytes
}

// Two filters of a tc hook look at a packet, one after the other.
func ExampleClsact() {
	m, err := skep.NewMachine(nil)
	if err != nil {
		log.Fatal(err)
	}
	defer m.Close()
	coll, err := m.LoadCollectionFile("../examples/tc_prio/tc_prio.o")
	if err != nil {
		log.Fatal(err)
	}
	defer coll.Close()
	egress, err := hook.NewClsact(m, &hook.TCOptions{Egress: true})
	if err != nil {
		log.Fatal(err)
	}
	defer egress.Close()
	first, err := egress.Add(hook.Filter{Protocol: hook.ProtocolAll, Program: coll.Programs["tc_prio"], Direct: true})
	if err != nil {
		log.Fatal(err)
	}
	result, err := egress.Run(make([]byte, 64), hook.Meta{Ifindex: 2})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("priority", first.Priority, "says", result.Action)
	// Output: priority 49152 says TC_ACT_OK
}
