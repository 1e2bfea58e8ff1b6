// Command reader runs events.o on a capture and prints what it tells through
// its ring buffer: connections as they open and close.
//
//	go run ./examples/events/reader examples/captures/web.pcap
package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/gopacket/gopacket/pcapgo"

	"github.com/skep-bpf/skep"
	"github.com/skep-bpf/skep/ringbuf"
)

// event is struct event of events.c. Addresses keep the order of the wire.
type event struct {
	Time         uint64 // ns since boot
	Saddr, Daddr [4]byte
	Sport, Dport uint16
	Kind         uint32
}

// kinds are enum kind of events.c.
var kinds = map[uint32]string{1: "opened", 2: "closed", 3: "reset"}

func main() {
	log.SetFlags(0)
	if len(os.Args) != 2 {
		log.Fatal("usage: reader CAPTURE")
	}
	if err := run(objectFile(), os.Args[1], os.Stdout); err != nil {
		log.Fatal(err)
	}
}

// objectFile is events.o, in the folder above this source file.
func objectFile() string {
	_, source, _, _ := runtime.Caller(0)
	return filepath.Join(filepath.Dir(source), "..", "events.o")
}

// run loads the object, runs its program on every packet and prints each event.
func run(object, capture string, out io.Writer) error {
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
	events, err := ringbuf.NewReader(coll.Maps["events"])
	if err != nil {
		return err
	}
	defer events.Close()
	events.SetDeadline(time.Unix(1, 0)) // long past: Read takes what is there, and does not wait

	f, err := os.Open(capture)
	if err != nil {
		return err
	}
	defer f.Close()
	packets, err := pcapgo.NewReader(f)
	if err != nil {
		return err
	}
	for {
		packet, _, err := packets.ZeroCopyReadPacketData()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if _, err := coll.Programs["watch"].Run(&skep.RunOptions{Data: packet}); err != nil {
			return err
		}
		if err := drain(events, out); err != nil {
			return err
		}
	}
}

// drain prints the events that wait in the ring. A program that watches a live
// interface would call Read in a goroutine of its own, without a deadline.
func drain(events *ringbuf.Reader, out io.Writer) error {
	for {
		record, err := events.Read()
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return nil
		}
		if err != nil {
			return err
		}
		var e event
		if _, err := binary.Decode(record.RawSample, binary.NativeEndian, &e); err != nil {
			return err
		}
		from := netip.AddrPortFrom(netip.AddrFrom4(e.Saddr), e.Sport)
		to := netip.AddrPortFrom(netip.AddrFrom4(e.Daddr), e.Dport)
		fmt.Fprintf(out, "%-6s %v → %v\n", kinds[e.Kind], from, to)
	}
}
