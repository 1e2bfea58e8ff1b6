package device_test

import (
	"context"
	"fmt"
	"log"

	"github.com/skep-bpf/skep"
	"github.com/skep-bpf/skep/device"
	"github.com/skep-bpf/skep/hook"
)

// A capture's packets meet a firewall in the driver of a device.
func ExampleNetwork() {
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

	port, err := device.OpenCaptures("../examples/captures/web.pcap", "")
	if err != nil {
		log.Fatal(err)
	}
	defer port.Close()
	net := device.New(m, nil)
	em1, err := net.Add("em1", port)
	if err != nil {
		log.Fatal(err)
	}
	if err := em1.SetXDP(coll.Programs["firewall"], device.Native); err != nil {
		log.Fatal(err)
	}
	if err := net.Run(context.Background()); err != nil {
		log.Fatal(err)
	}
	s := em1.Stats()
	fmt.Println(s.RxPackets, "received,", s.XDP[hook.XDPPass], "passed,", s.XDP[hook.XDPDrop], "dropped")
	// Output: 74 received, 72 passed, 2 dropped
}
