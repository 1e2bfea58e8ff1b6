package filter

import (
	"context"
	"encoding/binary"
	"time"

	"github.com/skep-bpf/skep/classic"
	"github.com/skep-bpf/skep/lang/pcap"
)

// linkSLL2 is LINKTYPE_LINUX_SLL2: what packets of all interfaces begin with.
const linkSLL2 = 276

// idle is how long a live source waits before it lets its job look around.
const idle = 100 * time.Millisecond

// liveSource gives packets as they come.
type liveSource interface {
	source
	// read reads a packet; ok is false where none came for a while.
	read(*record) (ok bool, err error)
}

// moment is when the packet of a live source came, whose records do not exist yet.
type moment struct {
	link      uint32
	sec, nsec int64
}

func (m *moment) next(*record) error             { panic("BUG: a live source is read, not walked") }
func (m *moment) time(*record) (sec, nsec int64) { return m.sec, m.nsec }
func (m *moment) cut(r *record, _ int) []byte    { return r.data }
func (m *moment) format() format                 { return formatLive }
func (m *moment) header() []byte                 { return appendPcapHeader(nil, true, maxSnaplen, m.link) }

// liveProgram compiles the expression for packets of a live source.
func (j *job) liveProgram(link uint32) ([]classic.Instruction, error) {
	l := pcap.FromFile(link)
	if j.o.linkGiven {
		l = j.o.link
	}
	return j.o.compile(j.s, l, &pcap.Options{Source: pcap.Live})
}

// watch takes packets from a live source until the context or the limit ends it. vm, if not nil, is the filter.
func (j *job) watch(ctx context.Context, src liveSource, link uint32, vm *classic.VM) error {
	if j.out != nil {
		if err := j.out.begin(src, link); err != nil {
			return err
		}
	}
	var r record
	for ctx.Err() == nil {
		ok, err := src.read(&r)
		if err != nil {
			return err
		}
		if !ok {
			// Nothing for a while: what was printed is shown.
			if j.printer != nil {
				if err := j.printer.flush(); err != nil {
					return err
				}
			}
			continue
		}
		j.packets++
		j.aux.Length = r.wire
		if vm != nil && vm.Run(r.data, &j.aux) == 0 {
			continue
		}
		if err := j.match(src, &r); err != nil {
			return err
		}
	}
	return nil
}

// Lengths of headers, in bytes.
const (
	sll2Header   = 20
	vlanTag      = 4
	addressesLen = 12 // of an Ethernet header
)

// sender is what a cooked header tells of a packet (struct sockaddr_ll).
type sender struct {
	protocol uint16 // in host order
	ifindex  uint32
	hatype   uint16
	pkttype  uint8
	addrLen  uint8
	addr     [8]byte
}

// cook puts the header of LINKTYPE_LINUX_SLL2 before a packet:
//
//	 0          2          4            8          10     11         12
//	┌──────────┬──────────┬────────────┬──────────┬──────┬──────────┬─────────────┐
//	│ protocol │ reserved │ interface  │ hardware │ type │ address  │ address, 8  │
//	│          │          │            │ type     │      │ length   │ bytes       │
//	└──────────┴──────────┴────────────┴──────────┴──────┴──────────┴─────────────┘
func cook(b []byte, a *sender) {
	clear(b[:sll2Header])
	binary.BigEndian.PutUint16(b, a.protocol)
	binary.BigEndian.PutUint32(b[4:], a.ifindex)
	binary.BigEndian.PutUint16(b[8:], a.hatype)
	b[10], b[11] = a.pkttype, a.addrLen
	copy(b[12:20], a.addr[:])
}

// retag puts a tag back behind the addresses of a frame that begins vlanTag bytes into b.
func retag(b []byte, tpid, tci uint16) {
	copy(b, b[vlanTag:][:addressesLen])
	binary.BigEndian.PutUint16(b[addressesLen:], tpid)
	binary.BigEndian.PutUint16(b[addressesLen+2:], tci)
}
