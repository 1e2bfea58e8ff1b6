package kstruct

import (
	"encoding/binary"

	"github.com/cilium/ebpf/btf"
)

// Place is where a member of a structure lies, bit fields among them: Bits bits from bit Off on, as BTF counts.
type Place struct {
	Off, Bits uint32
	Type      btf.Type
}

// Find returns the place of a member by its path, through unnamed members too; ok is false if there is none.
func Find(t btf.Type, path string) (p Place, ok bool) { return find(t, path, 0) }

func find(t btf.Type, path string, base uint32) (Place, bool) {
	var all []btf.Member
	switch t := btf.UnderlyingType(t).(type) {
	case *btf.Struct:
		all = t.Members
	case *btf.Union:
		all = t.Members
	}
	for _, m := range all {
		off := base + uint32(m.Offset)
		if m.Name == path && path != "" {
			if m.BitfieldSize != 0 {
				return Place{off, uint32(m.BitfieldSize), m.Type}, true
			}
			n, err := btf.Sizeof(m.Type)
			return Place{off, uint32(n) * 8, m.Type}, err == nil
		}
		rest := path
		if m.Name != "" {
			if len(path) <= len(m.Name) || path[:len(m.Name)] != m.Name || path[len(m.Name)] != '.' {
				continue
			}
			rest = path[len(m.Name)+1:]
		}
		if p, ok := find(m.Type, rest, off); ok {
			return p, true
		}
	}
	return Place{}, false
}

// IsNumber reports whether the place holds at most 64 bits.
func (p Place) IsNumber() bool { return p.Bits > 0 && p.Bits <= 64 }

// bigEndian is the machine's order.
var bigEndian = binary.NativeEndian.Uint16([]byte{0, 1}) == 1

// shift is how far the member's lowest bit is from that of the bytes it lies in, which are n from first on.
func (p Place) shift() (first, n, shift uint32) {
	first = p.Off / 8
	n = (p.Off%8 + p.Bits + 7) / 8
	shift = p.Off % 8
	if bigEndian {
		shift = 8*n - p.Off%8 - p.Bits
	}
	return first, n, shift
}

// byteAt is the i-th byte of n in ascending order of what it is worth.
func byteAt(b []byte, i, n uint32) *byte {
	if bigEndian {
		i = n - 1 - i
	}
	return &b[i]
}

// Get reads the number in a structure's bytes, sign-extended if its type is signed.
func (p Place) Get(b []byte) uint64 {
	first, n, shift := p.shift()
	var v uint64
	for i := range n {
		c := uint64(*byteAt(b[first:], i, n))
		if at := int(8*i) - int(shift); at >= 0 {
			v |= c << at
		} else {
			v |= c >> -at
		}
	}
	if p.Bits < 64 {
		v &= 1<<p.Bits - 1
		if Signed(p.Type) && v>>(p.Bits-1) != 0 {
			v |= ^uint64(0) << p.Bits
		}
	}
	return v
}

// Put writes the number's low bits; the bits around them stay.
func (p Place) Put(b []byte, v uint64) {
	first, n, shift := p.shift()
	mask := ^uint64(0)
	if p.Bits < 64 {
		mask = 1<<p.Bits - 1
	}
	v &= mask
	for i := range n {
		c := byteAt(b[first:], i, n)
		if at := int(8*i) - int(shift); at >= 0 { // at worst a ninth byte's
			*c = *c&^byte(mask>>at) | byte(v>>at)
		} else {
			*c = *c&^byte(mask<<-at) | byte(v<<-at)
		}
	}
}

// Signed reports whether a type is an integer with a sign.
func Signed(t btf.Type) bool {
	switch t := btf.UnderlyingType(t).(type) {
	case *btf.Int:
		return t.Encoding == btf.Signed
	case *btf.Enum:
		return t.Signed
	}
	return false
}
