package btfval

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net/netip"
	"strconv"

	"github.com/cilium/ebpf/btf"
)

// Format returns data as text in the manner of a C initialiser, on one line:
//
//	integers      12, -3; __be16 … __be64 converted to the number they mean, __be32 as IPv4 address
//	bool, enums   true, TCP_SYN_SENT
//	pointers      0xffff888012345678
//	structs       { .packets = 12, .bytes = 900 }   unions: every member
//	arrays        { 1, 2, ... }   elements left out at the end are zero
//	char arrays   "eth0" where printable
//	byte arrays   0x02 00 5e 10 00 01
//	in6_addr      2001:db8::1
//
// Without a type, or with less data than the type needs, it is hexadecimal
// bytes as bpftool prints them: 0c 00 00 00.
func Format(t btf.Type, data []byte, order binary.ByteOrder) string {
	n, ok := fits(t, data)
	if !ok {
		return hexBytes(data)
	}
	f := formatter{order: order, left: maxNodes(n)}
	f.value(t, data[:n], 0)
	return f.String()
}

// hexBytes is bpftool's form of bytes without type.
func hexBytes(data []byte) string {
	var b bytes.Buffer
	for i, c := range data {
		if i > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(hex.EncodeToString([]byte{c}))
	}
	return b.String()
}

// FormatPerCPU is [Format] for the value of a per-CPU map as bpf(2) gives it:
// one value of size bytes for each CPU, rounded up to 8.
func FormatPerCPU(t btf.Type, size int, data []byte, order binary.ByteOrder) string {
	var b bytes.Buffer
	b.WriteString("{ ")
	for cpu, v := range PerCPU(size, data) {
		if cpu > 0 {
			b.WriteString(", ")
		}
		fmt.Fprintf(&b, "cpu%d = %s", cpu, Format(t, v, order))
	}
	b.WriteString(" }")
	return b.String()
}

// PerCPU takes the value of a per-CPU map apart into that of each CPU.
func PerCPU(size int, data []byte) [][]byte {
	stride := (size + 7) &^ 7
	var vals [][]byte
	for stride > 0 && len(data) >= stride {
		vals = append(vals, data[:size])
		data = data[stride:]
	}
	return vals
}

// formatter writes one value as text.
type formatter struct {
	bytes.Buffer
	order binary.ByteOrder
	left  int // members and elements that may still be written
}

// value writes data, which has exactly the type's size.
func (f *formatter) value(t btf.Type, data []byte, depth int) {
	if f.left--; f.left < 0 || depth > maxDepth {
		f.WriteString("?")
		return
	}
	if network(t) {
		f.network(data)
		return
	}
	t = btf.UnderlyingType(t)
	if v, ok := t.(*btf.Var); ok {
		t = btf.UnderlyingType(v.Type)
	}
	switch t := t.(type) {
	case *btf.Int:
		f.integer(t, data)
	case *btf.Enum:
		f.enum(t, readUint(data[:min(8, len(data))], f.order))
	case *btf.Float:
		if v, bits, ok := float(data, f.order); ok {
			f.WriteString(strconv.FormatFloat(v, 'g', -1, bits))
			return
		}
		f.raw(data)
	case *btf.Pointer:
		fmt.Fprintf(f, "%#x", readUint(data, f.order))
	case *btf.Array:
		f.array(t, data, depth)
	case *btf.Struct, *btf.Union, *btf.Datasec:
		if addr, ok := inet6(t, data); ok {
			f.WriteString(addr.String())
			return
		}
		list, _ := members(t)
		f.members(list, data, depth)
	default:
		f.raw(data)
	}
}

// raw writes bytes in the form [Parse] takes for any type.
func (f *formatter) raw(data []byte) {
	f.WriteString("0x" + hexBytes(data))
}

func (f *formatter) network(data []byte) {
	if len(data) == 4 {
		f.WriteString(netip.AddrFrom4([4]byte(data)).String())
		return
	}
	f.WriteString(strconv.FormatUint(readUint(data, binary.BigEndian), 10))
}

// inet6 recognises the kernel's IPv6 address type, a union of arrays.
func inet6(t btf.Type, data []byte) (netip.Addr, bool) {
	s, ok := t.(*btf.Struct)
	if !ok || s.Name != "in6_addr" || len(data) != 16 {
		return netip.Addr{}, false
	}
	return netip.AddrFrom16([16]byte(data)), true
}

func (f *formatter) integer(t *btf.Int, data []byte) {
	switch {
	case len(data) > 8 || len(data) == 0:
		f.raw(data)
	case t.Encoding == btf.Signed:
		f.WriteString(strconv.FormatInt(signExtend(readUint(data, f.order), 8*len(data)), 10))
	default:
		f.number(t, readUint(data, f.order))
	}
}

// number writes an unsigned number or truth value.
func (f *formatter) number(t *btf.Int, n uint64) {
	if t.Encoding == btf.Bool && n <= 1 {
		f.WriteString(strconv.FormatBool(n == 1))
		return
	}
	f.WriteString(strconv.FormatUint(n, 10))
}

func (f *formatter) enum(t *btf.Enum, n uint64) {
	if name, ok := enumName(t, n); ok {
		f.WriteString(name)
		return
	}
	if t.Signed {
		f.WriteString(strconv.FormatInt(signExtend(n, 8*int(t.Size)), 10))
		return
	}
	f.WriteString(strconv.FormatUint(n, 10))
}

// enumName finds the first name of a value, of which the low bits count that the type has.
func enumName(t *btf.Enum, n uint64) (string, bool) {
	mask := ^uint64(0)
	if t.Size < 8 {
		mask = 1<<(8*t.Size) - 1
	}
	for _, v := range t.Values {
		if v.Value&mask == n&mask {
			return v.Name, true
		}
	}
	return "", false
}

func (f *formatter) members(list []btf.Member, data []byte, depth int) {
	f.WriteString("{")
	wrote := f.fields(list, data, depth, false)
	if wrote {
		f.WriteString(" ")
	}
	f.WriteString("}")
}

// fields writes the members; those of anonymous structs and unions stand as if
// they were the outer one's, as in C.
func (f *formatter) fields(list []btf.Member, data []byte, depth int, wrote bool) bool {
	for _, m := range list {
		if f.left--; f.left < 0 {
			break
		}
		if m.BitfieldSize == 0 && m.Name == "" && depth < maxDepth {
			inner, ok := members(btf.UnderlyingType(m.Type))
			if part, lies := slice(m, data); ok && lies {
				wrote = f.fields(inner, part, depth+1, wrote)
				continue
			}
		}
		if wrote {
			f.WriteString(",")
		}
		wrote = true
		f.WriteString(" ." + m.Name + " = ")
		if m.BitfieldSize > 0 {
			f.bitfield(m, data)
		} else if part, ok := slice(m, data); ok {
			f.value(m.Type, part, depth+1)
		} else {
			f.WriteString("?")
		}
	}
	return wrote
}

func (f *formatter) bitfield(m btf.Member, data []byte) {
	n, ok := bitfield(m, data, f.order)
	if !ok {
		f.WriteString("?")
		return
	}
	switch t := btf.UnderlyingType(m.Type).(type) {
	case *btf.Enum:
		if t.Signed {
			n = uint64(signExtend(n, int(m.BitfieldSize)))
		}
		f.enum(t, n)
	case *btf.Int:
		if t.Encoding == btf.Signed {
			f.WriteString(strconv.FormatInt(signExtend(n, int(m.BitfieldSize)), 10))
			return
		}
		f.number(t, n)
	default:
		f.WriteString(strconv.FormatUint(n, 10))
	}
}

// bitfield reads a bit field member; false if it does not lie in data.
func bitfield(m btf.Member, data []byte, order binary.ByteOrder) (uint64, bool) {
	if m.BitfieldSize > 64 || uint64(m.Offset)+uint64(m.BitfieldSize) > 8*uint64(len(data)) {
		return 0, false
	}
	return readBits(data, int(m.Offset), int(m.BitfieldSize), order), true
}

func (f *formatter) array(t *btf.Array, data []byte, depth int) {
	if isChar(t.Type) {
		if s, ok := text(data); ok {
			f.WriteString(strconv.Quote(s))
			return
		}
	}
	if len(data) > 0 && (isChar(t.Type) || isByte(t.Type)) {
		f.raw(data)
		return
	}
	size, ok := sizeOf(t.Type)
	if !ok || size == 0 {
		f.WriteString("{}")
		return
	}
	f.WriteString("{ ")
	for i := 0; len(data) >= size; i++ {
		if i > 0 {
			f.WriteString(", ")
		}
		if i > 0 && isZero(data) {
			f.WriteString("...")
			break
		}
		f.value(t.Type, data[:size], depth+1)
		data = data[size:]
	}
	f.WriteString(" }")
}

func isZero(data []byte) bool {
	for _, c := range data {
		if c != 0 {
			return false
		}
	}
	return true
}

// text returns the string in a char array: printable ASCII, then nothing but NULs, at least one.
func text(data []byte) (string, bool) {
	n := bytes.IndexByte(data, 0)
	if n < 0 || !isZero(data[n:]) {
		return "", false
	}
	for _, c := range data[:n] {
		if c < ' ' || c > '~' {
			return "", false
		}
	}
	return string(data[:n]), true
}
