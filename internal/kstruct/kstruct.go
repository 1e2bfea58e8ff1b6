// Package kstruct makes structures of the kernel for programs to look at, laid out as a
// kernel's BTF says: a program that follows a pointer to one finds the members that are set, and zeroes.
package kstruct

import (
	"encoding/binary"
	"strings"

	"github.com/cilium/ebpf/btf"
)

// Struct is one of them, in memory of its owner's.
type Struct struct {
	Type  *btf.Struct // nil: not known, and nothing can be set
	Bytes []byte
	Addr  uint64 // where programs see Bytes
}

// New begins a structure in b, which is all zeroes; types that do not have it leave it like that.
func New(types *btf.Spec, name string, b []byte, addr uint64) Struct {
	s := Struct{Bytes: b, Addr: addr}
	if types == nil || types.TypeByName(name, &s.Type) != nil {
		s.Type = nil
	}
	return s
}

// Field finds a member by its path, "refcnt.counter", through unnamed members too; nil: there is none.
func (s *Struct) Field(path string) []byte {
	if s.Type == nil {
		return nil
	}
	off, size, ok := member(s.Type, path)
	if !ok || off%8 != 0 || size%8 != 0 || uint64(off)+uint64(size) > 8*uint64(len(s.Bytes)) {
		return nil
	}
	return s.Bytes[off/8:][:size/8]
}

// Bits is a member of fewer bits than a byte has.
type Bits struct {
	in          []byte // the byte; nil: there is no such member
	shift, mask byte
}

// Bits finds a bit field within one byte by its path.
func (s *Struct) Bits(path string) Bits {
	if s.Type == nil {
		return Bits{}
	}
	off, size, ok := member(s.Type, path)
	if !ok || off%8+size > 8 || off/8 >= uint32(len(s.Bytes)) {
		return Bits{}
	}
	b := Bits{s.Bytes[off/8:][:1], byte(off % 8), byte(1<<size - 1)}
	if binary.NativeEndian.Uint16([]byte{0, 1}) == 1 { // bits are counted from the other end
		b.shift = byte(8 - off%8 - size)
	}
	return b
}

// Put writes a number, as far as it fits.
func (b Bits) Put(v byte) {
	if b.in != nil {
		b.in[0] = b.in[0]&^(b.mask<<b.shift) | v&b.mask<<b.shift
	}
}

// member returns where a member lies and what it takes, in bits.
func member(t btf.Type, path string) (off, size uint32, ok bool) {
	var all []btf.Member
	switch t := btf.UnderlyingType(t).(type) {
	case *btf.Struct:
		all = t.Members
	case *btf.Union:
		all = t.Members
	}
	for _, m := range all {
		rest, within := strings.CutPrefix(path, m.Name+".")
		switch {
		case m.Name == path:
			rest = ""
		case m.Name == "":
			rest = path
		case !within:
			continue
		}
		if rest == "" && m.BitfieldSize != 0 {
			return uint32(m.Offset), uint32(m.BitfieldSize), true
		}
		if rest == "" {
			n, err := btf.Sizeof(m.Type)
			return uint32(m.Offset), 8 * uint32(n), err == nil
		}
		if in, n, found := member(m.Type, rest); found {
			return uint32(m.Offset) + in, n, true
		}
	}
	return 0, 0, false
}

// Put writes a number into a field of one, two, four or eight bytes; others stay as they are.
func Put(field []byte, v uint64) {
	order := binary.NativeEndian
	switch len(field) {
	case 1:
		field[0] = byte(v)
	case 2:
		order.PutUint16(field, uint16(v))
	case 4:
		order.PutUint32(field, uint32(v))
	case 8:
		order.PutUint64(field, v)
	}
}

// Set writes a number, where the types have the member.
func (s *Struct) Set(path string, v uint64) { Put(s.Field(path), v) }

// Text writes a string, cut to what there is room for.
func (s *Struct) Text(path, text string) { copy(s.Field(path), text) }
