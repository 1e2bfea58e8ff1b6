// Command sample runs xsk_sample.o on a capture and prints the packets that come
// to its AF_XDP socket.
//
//	go run ./examples/xsk_sample/sample examples/captures/web.pcap
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"github.com/skep-bpf/skep"
	"github.com/skep-bpf/skep/device"
	"github.com/skep-bpf/skep/xsk"
)

func main() {
	log.SetFlags(0)
	if len(os.Args) != 2 {
		log.Fatal("usage: sample CAPTURE")
	}
	if err := run(objectFile(), os.Args[1], os.Stdout); err != nil {
		log.Fatal(err)
	}
}

// objectFile is xsk_sample.o, in the folder above this source file.
func objectFile() string {
	_, source, _, _ := runtime.Caller(0)
	return filepath.Join(filepath.Dir(source), "..", "xsk_sample.o")
}

// run prints the samples of a capture.
func run(object, capture string, out io.Writer) error {
	m, err := skep.NewMachine(&skep.MachineOptions{CPUs: 1})
	if err != nil {
		return err
	}
	defer m.Close()
	coll, err := m.LoadCollectionFile(object)
	if err != nil {
		return err
	}
	defer coll.Close()
	port, err := device.OpenCaptures(capture, "")
	if err != nil {
		return err
	}
	defer port.Close()
	network := device.New(m, nil)
	dev, err := network.Add("capture", port)
	if err != nil {
		return err
	}
	if err := dev.SetXDP(coll.Programs["xsk_sample"], device.Native); err != nil {
		return err
	}
	sock, err := xsk.Open(dev, 0, &xsk.Options{TxSize: -1})
	if err != nil {
		return err
	}
	defer sock.Close()
	if err := coll.Maps["xsks"].Put(uint32(0), sock); err != nil {
		return err
	}

	ran := make(chan error, 1)
	go func() {
		ran <- network.Run(context.Background()) // until the capture ends
		sock.SetDeadline(time.Unix(1, 0))        // long past: what is there is still received
	}()
	frames := make([]xsk.Frame, 64)
	for {
		n, err := sock.Receive(frames)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			break
		}
		if err != nil {
			return err
		}
		for _, f := range frames[:n] {
			fmt.Fprintln(out, describe(f.Data))
		}
		sock.Free(frames[:n]...)
	}
	if err := <-ran; err != nil {
		return err
	}
	s := dev.Stats()
	_, err = fmt.Fprintf(out, "%d of %d packets sampled\n", s.RxSockets, s.RxPackets)
	return err
}

// describe says in a line what a packet is.
func describe(frame []byte) string {
	p := gopacket.NewPacket(frame, layers.LayerTypeEthernet, gopacket.NoCopy)
	line := fmt.Sprintf("%4d bytes", len(frame))
	if n := p.NetworkLayer(); n != nil {
		line += fmt.Sprintf("  %s → %s", n.NetworkFlow().Src(), n.NetworkFlow().Dst())
	}
	for _, l := range p.Layers() {
		line += " " + l.LayerType().String()
	}
	return line
}
