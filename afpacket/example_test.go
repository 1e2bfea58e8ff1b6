package afpacket_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"time"

	"github.com/skep-bpf/skep"
	"github.com/skep-bpf/skep/afpacket"
	"github.com/skep-bpf/skep/device"
	"github.com/skep-bpf/skep/lang/pcap"
)

// A sniffer: what tcpdump's expression leaves of what a device receives. Here that is a capture.
func Example() {
	m, err := skep.NewMachine(nil)
	if err != nil {
		log.Fatal(err)
	}
	defer m.Close()
	port, err := device.OpenCaptures("../examples/captures/web.pcap", "")
	if err != nil {
		log.Fatal(err)
	}
	n := device.New(m, nil)
	dev, err := n.Add("cap0", port)
	if err != nil {
		log.Fatal(err)
	}

	prog, err := pcap.CompileProgram("tcp[tcpflags] & tcp-syn != 0", pcap.Ethernet, 54, &pcap.Options{Source: pcap.Live})
	if err != nil {
		log.Fatal(err)
	}
	sock, err := afpacket.Open(dev, &afpacket.Options{Protocol: afpacket.All, Filter: prog})
	if err != nil {
		log.Fatal(err)
	}
	defer sock.Close()

	if err := n.Run(context.Background()); err != nil { // until the capture has been received whole
		log.Fatal(err)
	}
	sock.SetReadDeadline(time.Now()) // nothing more is to come
	buf := make([]byte, 2048)
	for {
		k, info, err := sock.Receive(buf)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			break
		}
		if err != nil {
			log.Fatal(err)
		}
		fmt.Printf("%s: %d of %d bytes, type %#04x, VLAN tag %d\n", info.Device.Name(), k, info.Length, info.Protocol, info.VLANTCI)
	}
	fmt.Printf("%+v\n", sock.Stats())
	// Output:
	// cap0: 54 of 66 bytes, type 0x0800, VLAN tag 0
	// cap0: 54 of 66 bytes, type 0x0800, VLAN tag 0
	// cap0: 54 of 66 bytes, type 0x0800, VLAN tag 0
	// cap0: 54 of 66 bytes, type 0x0800, VLAN tag 0
	// cap0: 54 of 66 bytes, type 0x0800, VLAN tag 100
	// cap0: 54 of 66 bytes, type 0x0800, VLAN tag 100
	// {Packets:6 Drops:0}
}
