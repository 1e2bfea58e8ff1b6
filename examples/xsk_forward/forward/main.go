// Command forward answers UDP packets, or sends them from one device on to
// another, with AF_XDP sockets behind xsk_forward.o: on captures, or on interfaces
// of the kernel.
//
//	go run ./examples/xsk_forward/forward examples/captures/dns.pcap out.pcap
//	sudo go run ./examples/xsk_forward/forward -interface eth0 [-to eth1]
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"time"

	"github.com/skep-bpf/skep"
	"github.com/skep-bpf/skep/device"
	"github.com/skep-bpf/skep/xsk"
)

func main() {
	log.SetFlags(0)
	from := flag.String("interface", "", "an interface of the kernel")
	to := flag.String("to", "", "another, to forward to; else packets are answered")
	flag.Usage = func() {
		fmt.Fprintln(os.Stderr, "usage: forward IN.pcap OUT.pcap, or forward -interface NAME [-to NAME]")
		flag.PrintDefaults()
	}
	flag.Parse()
	var n int
	var err error
	switch {
	case *from == "" && *to == "" && flag.NArg() == 2:
		n, err = captures(flag.Arg(0), flag.Arg(1))
	case *from != "" && flag.NArg() == 0:
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
		defer stop()
		n, err = interfaces(ctx, *from, *to, func() { log.Println("forwarding; ctrl-C ends it") })
	default:
		flag.Usage()
		os.Exit(2)
	}
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(n, "packets sent")
}

// objectFile is xsk_forward.o, in the folder above this source file.
func objectFile() string {
	_, source, _, _ := runtime.Caller(0)
	return filepath.Join(filepath.Dir(source), "..", "xsk_forward.o")
}

// captures answers the packets of a capture in another, on a device of skep.
func captures(in, out string) (int, error) {
	m, err := skep.NewMachine(nil)
	if err != nil {
		return 0, err
	}
	defer m.Close()
	coll, err := m.LoadCollectionFile(objectFile())
	if err != nil {
		return 0, err
	}
	defer coll.Close()
	port, err := device.OpenCaptures(in, out)
	if err != nil {
		return 0, err
	}
	defer port.Close()
	network := device.New(m, nil)
	dev, err := network.Add("capture", port)
	if err != nil {
		return 0, err
	}
	if err := dev.SetXDP(coll.Programs["xsk_forward"], device.Native); err != nil {
		return 0, err
	}
	sock, err := xsk.Open(dev, 0, nil)
	if err != nil {
		return 0, err
	}
	defer sock.Close()
	if err := coll.Maps["xsks"].Put(uint32(0), sock); err != nil {
		return 0, err
	}

	ran := make(chan error, 1)
	go func() {
		err := network.Run(context.Background()) // until the capture ends
		sock.SetDeadline(time.Unix(1, 0))        // long past: what is there is still received
		ran <- err
	}()
	n, err := forward(sock, sock, answer)
	if err := errors.Join(ended(err), <-ran); err != nil {
		return n, err
	}
	return n, port.Commit()
}

// ended is the error of forward, but for the deadline that was to end it.
func ended(err error) error {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return nil
	}
	return err
}

// forward changes the packets of one socket where they lie and sends them by
// another, of the same UMEM. It returns how many, and why it ended.
func forward(from, to *xsk.Socket, change func(packet []byte)) (int, error) {
	frames := make([]xsk.Frame, 64)
	for total := 0; ; {
		n, err := from.Receive(frames)
		if err != nil {
			return total, err
		}
		for _, f := range frames[:n] {
			change(f.Data)
		}
		sent, err := to.Transmit(frames[:n])
		total += sent
		to.Free(frames[sent:n]...) // what there was no room for is dropped
		if err != nil {
			return total, err
		}
	}
}

// Offsets in a UDP packet over IPv4 without options, in bytes.
const (
	macs  = 0
	addrs = 26
	ports = 34
)

// answer swaps who sent a packet and who is to get it. Checksums stay as they are:
// they are sums.
func answer(packet []byte) {
	if len(packet) < ports+4 {
		return
	}
	swap(packet[macs:], 6)
	swap(packet[addrs:], 4)
	swap(packet[ports:], 2)
}

// swap exchanges two neighbouring fields of n bytes.
func swap(b []byte, n int) {
	for i := range n {
		b[i], b[n+i] = b[n+i], b[i]
	}
}
