package main

import (
	"log"
	"os"
)

func Example() {
	if err := run(objectFile(), "../../captures/web.pcap", os.Stdout); err != nil {
		log.Fatal(err)
	}
	// Output:
	// opened 192.0.2.10:49152 → 198.51.100.20:80
	// opened 203.0.113.66:41000 → 192.0.2.10:23
	// reset  192.0.2.10:23 → 203.0.113.66:41000
	// opened 203.0.113.66:41001 → 192.0.2.10:2323
	// reset  192.0.2.10:2323 → 203.0.113.66:41001
	// closed 192.0.2.10:49152 → 198.51.100.20:80
	// closed 198.51.100.20:80 → 192.0.2.10:49152
}
