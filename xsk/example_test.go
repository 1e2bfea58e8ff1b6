package xsk_test

import (
	"fmt"
	"log"

	"github.com/skep-bpf/skep"
	"github.com/skep-bpf/skep/device"
	"github.com/skep-bpf/skep/xsk"
)

// What arrives on a device goes past the network stack to a socket, and the answer back.
func Example() {
	m, err := skep.NewMachine(nil)
	if err != nil {
		log.Fatal(err)
	}
	defer m.Close()
	coll, err := m.LoadCollectionFile("../examples/xsk_forward/xsk_forward.o")
	if err != nil {
		log.Fatal(err)
	}
	defer coll.Close()

	cable, far := device.NewPair()
	defer far.Close()
	network := device.New(m, nil)
	dev, err := network.Add("em1", cable)
	if err != nil {
		log.Fatal(err)
	}
	if err := dev.SetXDP(coll.Programs["xsk_forward"], device.Native); err != nil {
		log.Fatal(err)
	}
	sock, err := xsk.Open(dev, 0, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer sock.Close()
	if err := coll.Maps["xsks"].Put(uint32(0), sock); err != nil {
		log.Fatal(err)
	}
	if err := network.Start(); err != nil {
		log.Fatal(err)
	}
	defer network.Stop()

	udp := make([]byte, 64)
	copy(udp[12:], []byte{0x08, 0x00, 0x45, 0, 0, 50, 0, 0, 0, 0, 64, 17})
	if _, err := far.Transmit([][]byte{udp}); err != nil {
		log.Fatal(err)
	}
	frames := make([]xsk.Frame, 64)
	n, err := sock.Receive(frames) // waits for one at least
	if err != nil {
		log.Fatal(err)
	}
	for i := range n {
		copy(frames[i].Data, "to whom it came from") // in the memory shared with the device
	}
	sent, err := sock.Transmit(frames[:n])
	if err != nil {
		log.Fatal(err)
	}
	sock.Free(frames[sent:n]...)

	back := [][]byte{make([]byte, 2048)}
	if _, err := far.Receive(0, back); err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%d bytes: %.20s\n", len(back[0]), back[0])
	// Output: 64 bytes: to whom it came from
}
