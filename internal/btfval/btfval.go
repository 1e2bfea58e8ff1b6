// Package btfval turns bytes into readable values and back, by their BTF type.
//
//	struct { __be32 addr; __u16 port; char name[4]; }
//
//	0a 00 00 01 │ 50 00 │ 6c 6f 00 00   ◀──▶   { .addr = 10.0.0.1, .port = 80, .name = "lo" }
//
// [Format] writes such text, [Parse] reads it; what Format writes, Parse reads
// back to the same bytes, padding apart. [JSON] writes what bpftool writes with -j.
package btfval

import (
	"encoding/binary"
	"math"

	"github.com/cilium/ebpf/btf"
)

// Types come from object files, which may be hostile: a struct may contain
// itself, an array have 2³² elements without size. Real values stay far below
// both limits.
const maxDepth = 32

// maxNodes is how many members and elements n bytes of value or text may have.
func maxNodes(n int) int { return 4096 + 16*n }

// sizeOf returns a type's size in bytes; false for types without values.
func sizeOf(t btf.Type) (int, bool) {
	n, err := btf.Sizeof(t)
	return n, err == nil && n >= 0
}

// fits returns the size of a type's values and whether data has one; a nil type has none.
func fits(t btf.Type, data []byte) (int, bool) {
	if t == nil {
		return 0, false
	}
	n, ok := sizeOf(t)
	return n, ok && n <= len(data)
}

// isBig asks the order itself, so that binary.NativeEndian is understood too.
func isBig(order binary.ByteOrder) bool { return order.Uint16([]byte{0, 1}) == 1 }

// readUint reads 1 to 8 bytes as an unsigned number.
func readUint(b []byte, order binary.ByteOrder) uint64 {
	var n uint64
	for i := range b {
		if isBig(order) {
			n = n<<8 | uint64(b[i])
		} else {
			n |= uint64(b[i]) << (8 * i)
		}
	}
	return n
}

// writeUint writes the low bytes of n over all of b, at most 8.
func writeUint(b []byte, order binary.ByteOrder, n uint64) {
	for i := range b {
		if isBig(order) {
			b[len(b)-1-i] = byte(n >> (8 * i))
		} else {
			b[i] = byte(n >> (8 * i))
		}
	}
}

// Bit fields count from the least significant bit of the first byte on
// little-endian targets, from its most significant one on big-endian targets:
//
//	little   7 6 5 4 3 2 1 0 │ f e d c b a 9 8
//	big      0 1 2 3 4 5 6 7 │ 8 9 a b c d e f

// readBits reads width bits (at most 64) at bit offset off.
func readBits(b []byte, off, width int, order binary.ByteOrder) uint64 {
	var n uint64
	for i := range width {
		pos := off + i
		if isBig(order) {
			n = n<<1 | uint64(b[pos/8]>>(7-pos%8)&1)
		} else {
			n |= uint64(b[pos/8]>>(pos%8)&1) << i
		}
	}
	return n
}

// writeBits writes the low width bits of n at bit offset off.
func writeBits(b []byte, off, width int, order binary.ByteOrder, n uint64) {
	for i := range width {
		pos, shift, bit := off+i, (off+i)%8, n>>i&1
		if isBig(order) {
			shift, bit = 7-shift, n>>(width-1-i)&1
		}
		b[pos/8] = b[pos/8]&^(1<<shift) | byte(bit)<<shift
	}
}

// signExtend widens a signed number of the given bits.
func signExtend(n uint64, bits int) int64 {
	if bits <= 0 || bits >= 64 {
		return int64(n)
	}
	return int64(n<<(64-bits)) >> (64 - bits)
}

// float reads an IEEE number; false for sizes Go has no type for.
func float(b []byte, order binary.ByteOrder) (float64, int, bool) {
	switch len(b) {
	case 4:
		return float64(math.Float32frombits(uint32(readUint(b, order)))), 32, true
	case 8:
		return math.Float64frombits(readUint(b, order)), 64, true
	}
	return 0, 0, false
}

// network says whether a type is kept in network byte order: one of the
// kernel's __be16, __be32, __be64. The qualifiers around it do not matter.
func network(t btf.Type) bool {
	for range maxDepth {
		switch u := t.(type) {
		case *btf.Typedef:
			switch u.Name {
			case "__be16", "__be32", "__be64":
				return true
			}
			t = u.Type
		case *btf.Const:
			t = u.Type
		case *btf.Volatile:
			t = u.Type
		case *btf.Restrict:
			t = u.Type
		case *btf.TypeTag:
			t = u.Type
		default:
			return false
		}
	}
	return false
}

// isChar and isByte tell text from raw bytes among arrays of one-byte integers.
func isChar(t btf.Type) bool {
	i, ok := btf.UnderlyingType(t).(*btf.Int)
	return ok && i.Size == 1 && (i.Name == "char" || i.Encoding == btf.Char)
}

func isByte(t btf.Type) bool {
	i, ok := btf.UnderlyingType(t).(*btf.Int)
	return ok && i.Size == 1 && i.Encoding != btf.Bool && !isChar(t)
}

// members returns the members of a struct or union and of a data section,
// whose variables are taken as members.
func members(t btf.Type) ([]btf.Member, bool) {
	switch t := t.(type) {
	case *btf.Struct:
		return t.Members, true
	case *btf.Union:
		return t.Members, true
	case *btf.Datasec:
		list := make([]btf.Member, 0, len(t.Vars))
		for _, v := range t.Vars {
			if vr, ok := v.Type.(*btf.Var); ok {
				list = append(list, btf.Member{Name: vr.Name, Type: vr.Type, Offset: btf.Bits(v.Offset) * 8})
			}
		}
		return list, true
	}
	return nil, false
}

// slice returns the bytes of a member that is no bit field; false if it does not lie in data.
func slice(m btf.Member, data []byte) ([]byte, bool) {
	size, ok := sizeOf(m.Type)
	off := int(m.Offset / 8)
	if !ok || m.Offset%8 != 0 || off > len(data) || size > len(data)-off {
		return nil, false
	}
	return data[off : off+size], true
}
