package filter

import (
	"bytes"
	"encoding/binary"
	"math"
	"math/big"

	"github.com/skep-bpf/skep/internal/capture"
)

// Types of pcapng blocks.
const (
	blockInterface = 1
	blockOldPacket = 2
	blockSimple    = 3
	blockEnhanced  = 6
)

// pcapngFile is a sequence of blocks. Those without a packet pass through, so
// that whoever writes blocks on keeps comments, names, statistics and secrets.
//
//	 type      length                         length again
//	┌─────────┬─────────┬────────────────────┬─────────┐
//	│ 4 bytes │ 4       │ body, 4-aligned    │ 4       │
//	└─────────┴─────────┴────────────────────┴─────────┘
type pcapngFile struct {
	w          *window
	order      binary.ByteOrder
	interfaces []ngInterface // of the current section
}

// ngInterface is what packets refer to.
type ngInterface struct {
	link   uint32
	snap   uint32 // 0: none
	units  uint64 // of time, in a second
	offset int64  // seconds to add
}

// maxInterfaces bounds a section's interfaces.
const maxInterfaces = 1 << 16

func (p *pcapngFile) format() format { return formatPcapNG }

// header is empty: a file's blocks pass through from the first on.
func (p *pcapngFile) header() []byte { return nil }

func (p *pcapngFile) next(r *record) error {
	head, err := p.w.peek(12)
	if err != nil {
		return err
	}
	if binary.LittleEndian.Uint32(head) == blockSection {
		const byteOrder = 0x1a2b3c4d
		switch uint32(byteOrder) {
		case binary.LittleEndian.Uint32(head[8:]):
			p.order = binary.LittleEndian
		case binary.BigEndian.Uint32(head[8:]):
			p.order = binary.BigEndian
		default:
			return damaged("a section header with byte order % x", head[8:12])
		}
		p.interfaces = p.interfaces[:0]
	}
	length := p.order.Uint32(head[4:])
	if length < 12 || length%4 != 0 || length > maxRecord {
		return damaged("a block of %d bytes: 12 to %d and a multiple of 4 it must be", length, maxRecord)
	}
	b, err := p.w.peek(int(length))
	if err != nil {
		return err
	}
	if again := p.order.Uint32(b[length-4:]); again != length {
		return damaged("a block of %d bytes says at its end that it has %d", length, again)
	}
	*r = record{raw: b[:length]}
	switch p.order.Uint32(b) {
	case blockInterface:
		err = p.addInterface(r.raw)
	case blockEnhanced:
		err = p.packet(r, p.order.Uint32(field(r.raw, 8)), 28, p.order.Uint32(field(r.raw, 20)), p.order.Uint32(field(r.raw, 24)))
	case blockOldPacket:
		err = p.packet(r, uint32(p.order.Uint16(field(r.raw, 8))), 28, p.order.Uint32(field(r.raw, 20)), p.order.Uint32(field(r.raw, 24)))
	case blockSimple:
		wire := p.order.Uint32(field(r.raw, 8))
		captured := wire
		if len(p.interfaces) > 0 && p.interfaces[0].snap != 0 {
			captured = min(captured, p.interfaces[0].snap)
		}
		err = p.packet(r, 0, 12, captured, wire)
	}
	if err != nil {
		return err
	}
	r.raw = p.w.take(int(length))
	return nil
}

// field returns the bytes of a block from offset at on, zeroes where it is too short:
// lengths are judged after.
func field(raw []byte, at int) []byte {
	if at+4 > len(raw)-4 {
		return make([]byte, 4)
	}
	return raw[at:]
}

// packet finds the packet within a block, at offset at.
func (p *pcapngFile) packet(r *record, iface uint32, at int, captured, wire uint32) error {
	if uint64(iface) >= uint64(len(p.interfaces)) {
		return damaged("a packet of interface %d, of which there are %d", iface, len(p.interfaces))
	}
	if room := len(r.raw) - at - 4; room < 0 || captured > uint32(room) || captured > capture.MaxPacket {
		return damaged("a packet of %d bytes in a block of %d", captured, len(r.raw))
	}
	r.data, r.wire, r.link = r.raw[at:at+int(captured)], int(wire), p.interfaces[iface].link
	return nil
}

// Options of an interface (draft-ietf-opsawg-pcapng section 4.2).
const (
	optionEnd      = 0
	optionTsResol  = 9
	optionTsOffset = 14
)

func (p *pcapngFile) addInterface(raw []byte) error {
	if len(raw) < 20 {
		return damaged("an interface block of %d bytes", len(raw))
	}
	if len(p.interfaces) == maxInterfaces {
		return damaged("more than %d interfaces in a section", maxInterfaces)
	}
	i := ngInterface{link: uint32(p.order.Uint16(raw[8:])), snap: p.order.Uint32(raw[12:]), units: 1e6}
	for o := raw[16 : len(raw)-4]; len(o) >= 4; {
		code, n := p.order.Uint16(o), int(p.order.Uint16(o[2:]))
		if code == optionEnd || 4+n > len(o) {
			break
		}
		switch value := o[4 : 4+n]; {
		case code == optionTsResol && n == 1 && value[0]&0x80 == 0 && value[0] <= 19:
			i.units = uint64(math.Pow10(int(value[0])))
		case code == optionTsResol && n == 1 && value[0]&0x80 != 0 && value[0]&0x7f < 64:
			i.units = 1 << (value[0] & 0x7f)
		case code == optionTsOffset && n == 8:
			i.offset = int64(p.order.Uint64(value))
		}
		o = o[min(len(o), 4+(n+3)&^3):]
	}
	p.interfaces = append(p.interfaces, i)
	return nil
}

func (p *pcapngFile) time(r *record) (sec, nsec int64) {
	var iface int
	switch p.order.Uint32(r.raw) {
	case blockSimple:
		return 0, 0 // has no time
	case blockOldPacket:
		iface = int(p.order.Uint16(r.raw[8:]))
	default:
		iface = int(p.order.Uint32(r.raw[8:]))
	}
	i := p.interfaces[iface]
	ticks := uint64(p.order.Uint32(r.raw[12:]))<<32 | uint64(p.order.Uint32(r.raw[16:]))
	rest := ticks % i.units
	if rest > math.MaxUint64/1_000_000_000 { // units above a nanosecond's
		n := new(big.Int).Mul(new(big.Int).SetUint64(rest), big.NewInt(1e9))
		nsec = n.Div(n, new(big.Int).SetUint64(i.units)).Int64()
	} else {
		nsec = int64(rest * 1_000_000_000 / i.units)
	}
	return int64(ticks/i.units) + i.offset, nsec
}

// cut shortens the packet and keeps what stands behind it, its options.
func (p *pcapngFile) cut(r *record, snap int) []byte {
	if p.order.Uint32(r.raw) == blockSimple {
		return r.raw // how long its packet is only its interface says
	}
	const header = 28
	n := min(snap, len(r.data))
	raw := bytes.Clone(r.raw[:header+n])
	raw = append(raw, make([]byte, -n&3)...)
	raw = append(raw, r.raw[header+(len(r.data)+3)&^3:]...)
	p.order.PutUint32(raw[20:], uint32(n))
	p.order.PutUint32(raw[4:], uint32(len(raw)))
	p.order.PutUint32(raw[len(raw)-4:], uint32(len(raw)))
	return raw
}
