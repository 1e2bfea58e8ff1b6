package main

import (
	"log"
	"os"
)

func Example() {
	if err := run(objectFile(), "../../captures/dns.pcap", os.Stdout); err != nil {
		log.Fatal(err)
	}
	// Output:
	// 75 bytes  192.0.2.10 → 192.0.2.53 Ethernet IPv4 UDP DNS
	//   75 bytes  192.0.2.10 → 192.0.2.53 Ethernet IPv4 UDP DNS
	//   71 bytes  192.0.2.10 → 192.0.2.53 Ethernet IPv4 UDP DNS
	//   75 bytes  192.0.2.10 → 192.0.2.53 Ethernet IPv4 UDP DNS
	//   66 bytes  192.0.2.10 → 192.0.2.53 Ethernet IPv4 TCP
	//   60 bytes  192.0.2.10 → 192.0.2.53 Ethernet IPv4 TCP
	//   60 bytes  192.0.2.53 → 192.0.2.10 Ethernet IPv4 TCP
	//   60 bytes  192.0.2.10 → 192.0.2.53 Ethernet IPv4 TCP
	//   60 bytes  192.0.2.53 → 192.0.2.10 Ethernet IPv4 TCP
	// 9 of 18 packets sampled
}
