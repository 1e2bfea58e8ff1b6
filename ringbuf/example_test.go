package ringbuf_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"log"
	"os"
	"time"

	"github.com/skep-bpf/skep"
	"github.com/skep-bpf/skep/ringbuf"
)

// A program tells through its ring buffer of a connection that opens.
func Example() {
	m, err := skep.NewMachine(nil)
	if err != nil {
		log.Fatal(err)
	}
	defer m.Close()
	coll, err := m.LoadCollectionFile("../examples/events/events.o")
	if err != nil {
		log.Fatal(err)
	}
	defer coll.Close()
	events, err := ringbuf.NewReader(coll.Maps["events"])
	if err != nil {
		log.Fatal(err)
	}
	defer events.Close()

	// A TCP SYN from 10.0.0.7:40000 to 10.0.0.1:443.
	syn := make([]byte, 54)
	copy(syn[12:], []byte{0x08, 0x00, 0x45, 0, 0, 40, 0, 0, 0, 0, 64, 6, 0, 0, 10, 0, 0, 7, 10, 0, 0, 1, 0x9c, 0x40, 0x01, 0xbb})
	syn[46], syn[47] = 0x50, 0x02
	if _, _, err := coll.Programs["watch"].Test(syn); err != nil {
		log.Fatal(err)
	}

	events.SetDeadline(time.Now()) // take what is there, do not wait
	for {
		rec, err := events.Read()
		if errors.Is(err, os.ErrDeadlineExceeded) {
			break
		} else if err != nil {
			log.Fatal(err)
		}
		var event struct { // struct event of events.c
			Time         uint64
			Saddr, Daddr [4]byte
			Sport, Dport uint16
			Kind         uint32
		}
		if _, err := binary.Decode(rec.RawSample, binary.NativeEndian, &event); err != nil {
			log.Fatal(err)
		}
		fmt.Printf("%v:%d to %v:%d, kind %d\n", event.Saddr, event.Sport, event.Daddr, event.Dport, event.Kind)
	}
	// Output: [10 0 0 7]:40000 to [10 0 0 1]:443, kind 1
}
