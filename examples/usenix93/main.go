// Command usenix93 repeats the comparison of "The BSD Packet Filter: A New
// Architecture for User-level Packet Capture" (McCanne and Jacobson, USENIX
// Winter 1993): the same filters as an expression tree on a stack machine, the
// model of the CMU/Stanford packet filter, and as a flow graph on a register
// machine, the model of BPF, run over the same packets; and what became
// possible since, the flow graph as native code.
//
//	go run ./examples/usenix93 [CAPTURE]
package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"text/tabwriter"
	"time"

	"github.com/skep-bpf/skep/classic"
	"github.com/skep-bpf/skep/internal/capture"
	"github.com/skep-bpf/skep/internal/sweep"
	"github.com/skep-bpf/skep/lang/pcap"
)

// filter is a filter in both models.
type filter struct {
	expr string // as a flow graph, compiled from tcpdump's language
	tree *Node  // the same as an expression tree over 16-bit words
}

// Offsets in an Ethernet frame, and words that stand there.
const (
	etherType = 12
	ipProto   = 22 // time to live and protocol
	ipSource  = 26
	ipDest    = 30
	arpSource = 28
	arpDest   = 38
	tcpDest   = 36 // behind an IP header without options

	typeIP   = 0x0800
	typeARP  = 0x0806
	typeRARP = 0x8035
)

// address compares both halves of an IPv4 address at an offset.
func address(at int, a [4]byte) *Node {
	return and(is(at, binary.BigEndian.Uint16(a[:])), is(at+2, binary.BigEndian.Uint16(a[2:])))
}

// host is "host a" as tcpdump means it.
func host(a [4]byte) *Node {
	return or(
		and(is(etherType, typeIP), or(address(ipSource, a), address(ipDest, a))),
		and(or(is(etherType, typeARP), is(etherType, typeRARP)), or(address(arpSource, a), address(arpDest, a))))
}

var (
	client = [4]byte{192, 0, 2, 10}
	server = [4]byte{198, 51, 100, 20}
)

var filters = []filter{
	{"ip", is(etherType, typeIP)},
	{"ip and src host 192.0.2.10", and(is(etherType, typeIP), address(ipSource, client))},
	{"host 192.0.2.10", host(client)},
	{"host 192.0.2.10 and host 198.51.100.20", and(host(client), host(server))},
	{"ip and ip[9] = 6 and ip[0] & 0xf = 5 and ether[36:2] = 80", and(is(etherType, typeIP),
		eq(mask(word(ipProto), lit(0xff)), lit(6)), eq(mask(word(14), lit(0x0f00)), lit(0x0500)), is(tcpDest, 80))},
}

// trace is a capture, as packets and as the records of a pcap file.
type trace struct {
	packets [][]byte
	records []byte
}

func readTrace(name string) (*trace, error) {
	r, err := capture.Open(name)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	var t trace
	for {
		p, err := r.Next()
		if errors.Is(err, io.EOF) {
			return &t, nil
		}
		if err != nil {
			return nil, err
		}
		t.packets = append(t.packets, append([]byte(nil), p.Data...))
		for _, v := range []int{0, 0, len(p.Data), len(p.Data)} {
			t.records = binary.LittleEndian.AppendUint32(t.records, uint32(v))
		}
		t.records = append(t.records, p.Data...)
	}
}

// count is what a filter takes on a trace, in instructions over all packets.
type count struct{ matches, stack, flow int }

// compare runs a filter in both models, instruction by instruction, and fails
// where they disagree.
func (f *filter) compare(t *trace) (c count, err error) {
	prog, err := pcap.CompileProgram(f.expr, pcap.Ethernet, capture.MaxPacket, nil)
	if err != nil {
		return c, err
	}
	stack := f.tree.Stack()
	for n, packet := range t.packets {
		match, steps := RunStack(stack, packet)
		c.stack += steps
		var s classic.State
		for ; !s.Done; c.flow++ {
			s.Step(prog, classic.Libpcap, packet, nil)
		}
		if match != (s.Result != 0) {
			return c, fmt.Errorf("%s: packet %d: the stack machine says %v, BPF %v", f.expr, n+1, match, s.Result != 0)
		}
		if match {
			c.matches++
		}
	}
	return c, nil
}

// times are nanoseconds for a packet; native is 0 where there is no native code.
type times struct{ stack, flow, native float64 }

// measure runs a filter over the trace again and again.
func (f *filter) measure(t *trace, rounds int) (m times, err error) {
	prog, err := pcap.CompileProgram(f.expr, pcap.Ethernet, capture.MaxPacket, nil)
	if err != nil {
		return m, err
	}
	vm, err := classic.NewVM(prog, classic.Libpcap)
	if err != nil {
		return m, err
	}
	stack := f.tree.Stack()
	perPacket := func(run func() error) (float64, error) {
		start := time.Now()
		for range rounds {
			if err := run(); err != nil {
				return 0, err
			}
		}
		return float64(time.Since(start)) / float64(rounds*len(t.packets)), nil
	}
	m.stack, _ = perPacket(func() error {
		for _, p := range t.packets {
			RunStack(stack, p)
		}
		return nil
	})
	m.flow, _ = perPacket(func() error {
		for _, p := range t.packets {
			vm.Run(p, nil)
		}
		return nil
	})
	native, err := sweep.New(prog, false, capture.MaxPacket)
	if errors.Is(err, sweep.ErrUnfit) {
		return m, nil
	}
	if err != nil {
		return m, err
	}
	defer native.Close()
	m.native, err = perPacket(func() error {
		for at := 0; at < len(t.records); {
			r, err := native.Sweep(t.records, at)
			if err != nil {
				return err
			}
			at = r.Next
		}
		return nil
	})
	return m, err
}

func report(w io.Writer, t *trace, rounds int) error {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(tw, "matches\tinstructions: tree\tgraph\tratio\ttime: tree/graph\ttree/native\tgraph/native\t")
	for i := range filters {
		f := &filters[i]
		c, err := f.compare(t)
		if err != nil {
			return err
		}
		m, err := f.measure(t, rounds)
		if err != nil {
			return err
		}
		n := float64(len(t.packets))
		fmt.Fprintf(tw, "%d\t%.1f\t%.1f\t%.1f\t%.1f\t", c.matches, float64(c.stack)/n, float64(c.flow)/n,
			float64(c.stack)/float64(c.flow), m.stack/m.flow)
		if m.native > 0 {
			fmt.Fprintf(tw, "%.1f\t%.1f\t", m.stack/m.native, m.flow/m.native)
		} else {
			fmt.Fprint(tw, "-\t-\t")
		}
		fmt.Fprintf(tw, "  %s\n", f.expr)
	}
	return tw.Flush()
}

func main() {
	name := "examples/captures/web.pcap"
	if len(os.Args) > 1 {
		name = os.Args[1]
	}
	t, err := readTrace(name)
	if err == nil && len(t.packets) > 0 {
		err = report(os.Stdout, t, max(2_000_000/len(t.packets), 1))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "usenix93:", err)
		os.Exit(1)
	}
}
