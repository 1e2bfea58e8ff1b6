package filter

import (
	"bytes"
	"encoding/binary"

	"github.com/skep-bpf/skep/internal/capture"
)

// Sizes of pcap's headers, in bytes.
const (
	pcapHeader = 24
	pcapRecord = 16
)

// pcapFile is a file header and records of a header and a packet:
//
//	 seconds   µs or ns   captured   on the wire
//	┌─────────┬──────────┬──────────┬─────────────┬────────────────┐
//	│ 4 bytes │ 4        │ 4        │ 4           │ captured bytes │
//	└─────────┴──────────┴──────────┴─────────────┴────────────────┘
type pcapFile struct {
	w     *window
	head  []byte
	swap  bool // the file is big-endian
	order binary.ByteOrder
	nano  bool
	link  uint32
}

func newPcapFile(w *window, order binary.ByteOrder, nano bool) (*pcapFile, error) {
	if _, err := w.peek(pcapHeader); err != nil {
		return nil, err
	}
	head := bytes.Clone(w.take(pcapHeader))
	return &pcapFile{
		w: w, head: head, order: order, nano: nano, swap: order == binary.BigEndian,
		// The upper bits say how long a frame check sequence is.
		link: order.Uint32(head[20:]) & 0x3ffffff,
	}, nil
}

func (p *pcapFile) next(r *record) error {
	b, err := p.w.peek(pcapRecord)
	if err != nil {
		return err
	}
	var captured, wire uint32
	if p.swap {
		captured, wire = binary.BigEndian.Uint32(b[8:]), binary.BigEndian.Uint32(b[12:])
	} else {
		captured, wire = binary.LittleEndian.Uint32(b[8:]), binary.LittleEndian.Uint32(b[12:])
	}
	if captured > capture.MaxPacket {
		return damaged("a packet of %d bytes, more than the %d any capture has", captured, capture.MaxPacket)
	}
	n := pcapRecord + int(captured)
	if _, err := p.w.peek(n); err != nil {
		return err
	}
	r.raw = p.w.take(n)
	r.data, r.wire, r.link = r.raw[pcapRecord:], int(wire), p.link
	return nil
}

func (p *pcapFile) time(r *record) (sec, nsec int64) {
	sec, nsec = int64(p.order.Uint32(r.raw)), int64(p.order.Uint32(r.raw[4:]))
	if !p.nano {
		nsec *= 1000
	}
	return sec, nsec
}

func (p *pcapFile) cut(r *record, snap int) []byte {
	raw := bytes.Clone(r.raw[:pcapRecord+min(snap, len(r.data))])
	p.order.PutUint32(raw[8:], uint32(len(raw)-pcapRecord))
	return raw
}

func (p *pcapFile) format() format { return formatPcap }

func (p *pcapFile) header() []byte { return p.head }

// appendPcapHeader appends a file header in the machine's byte order.
func appendPcapHeader(b []byte, nano bool, snap int, link uint32) []byte {
	magic := uint32(magicMicro)
	if nano {
		magic = magicNano
	}
	b = binary.NativeEndian.AppendUint32(b, magic)
	b = binary.NativeEndian.AppendUint16(b, 2)
	b = binary.NativeEndian.AppendUint16(b, 4)
	b = append(b, make([]byte, 8)...)
	b = binary.NativeEndian.AppendUint32(b, uint32(snap))
	return binary.NativeEndian.AppendUint32(b, link)
}

// appendPcapRecord appends a record with nanoseconds in the machine's byte order.
func appendPcapRecord(b []byte, sec, nsec int64, data []byte, wire int) []byte {
	for _, v := range [...]uint32{uint32(sec), uint32(nsec), uint32(len(data)), uint32(wire)} {
		b = binary.NativeEndian.AppendUint32(b, v)
	}
	return append(b, data...)
}
