package btfval

import (
	"encoding/binary"
	"fmt"
	"strings"

	"github.com/cilium/ebpf/btf"
)

// Show writes a value as the kernel shows the elements of a pinned map (btf_type_seq_show): without names,
// in one line, with its habits: what is in an array has no opening bracket, nor has an array of pointers; an
// array of bytes ends at the first zero; a section has no end. Pointers, which the kernel hashes, are shown as
// they are, each row of an array of arrays, of which it repeats the first, and small enums without what follows.
func Show(to *strings.Builder, t btf.Type, b []byte) {
	s := shower{Builder: to, left: maxNodes(len(b))}
	s.value(t, b)
}

// shower is a value on its way into text (struct btf_show).
type shower struct {
	*strings.Builder
	depth int
	left  int // values that may still be shown
	// inArray: no array has ended since the element that is shown began, so that opening brackets are left out.
	inArray bool
	// bare: a union was begun and nothing shown since: it is not followed by a comma.
	bare bool
	// chars: elements are shown as characters; ended: the zero behind the last was met.
	chars, ended bool
}

// put writes a value that has no parts.
func (s *shower) put(format string, args ...any) {
	fmt.Fprintf(s, format, args...)
	s.bare = false
	s.comma()
}

// comma separates a value from the next, which there may not be; none follows the outermost.
func (s *shower) comma() {
	switch {
	case s.depth == 0:
	case s.bare:
		s.WriteByte('|')
	default:
		s.WriteByte(',')
	}
	s.bare = false
}

func (s *shower) begin(bracket string) {
	if !s.inArray {
		s.WriteString(bracket)
	}
	s.depth++
	s.bare = false
}

func (s *shower) end(bracket byte) {
	s.depth--
	s.WriteByte(bracket)
	s.comma()
}

func (s *shower) value(t btf.Type, b []byte) {
	if s.left--; s.left < 0 || s.depth > maxDepth {
		return
	}
	if v, ok := t.(*btf.Var); ok {
		t = v.Type
	}
	if _, ok := fits(t, b); !ok {
		return
	}
	switch t := btf.UnderlyingType(t).(type) {
	case *btf.Int:
		s.int(t, b)
	case *btf.Enum:
		s.enum(t, b)
	case *btf.Pointer:
		s.put("0x%016x", binary.NativeEndian.Uint64(b))
	case *btf.Array:
		s.array(t, b)
	case *btf.Struct:
		s.begin("{")
		s.members(t.Members, b)
	case *btf.Union:
		s.begin("{")
		s.bare = true
		s.members(t.Members, b)
	case *btf.Datasec:
		s.put("section (\"%s\") = {", t.Name)
		for i, v := range t.Vars {
			if i > 0 {
				s.WriteByte(',')
			}
			if int(v.Offset) <= len(b) {
				s.value(v.Type, b[v.Offset:])
			}
		}
	case *btf.Float:
		s.WriteString("<unsupported kind:16>")
	}
}

func (s *shower) int(t *btf.Int, b []byte) {
	if t.Size == 16 {
		s.wide(binary.NativeEndian.Uint64(b), binary.NativeEndian.Uint64(b[8:]))
		return
	}
	if t.Size == 1 && s.chars {
		switch c := b[0]; {
		case c == 0:
			s.ended = true
			return
		case c >= ' ' && c < 0x7f, c >= 0xa0: // isprint
			s.WriteByte('\'')
			s.WriteByte(c)
			s.put("'")
			return
		}
	}
	s.number(readUint(b[:t.Size], binary.NativeEndian), t.Size, t.Encoding == btf.Signed)
}

func (s *shower) number(v uint64, size uint32, signed bool) {
	if signed {
		s.put("%d", signExtend(v, 8*int(size)))
		return
	}
	s.put("%d", v)
}

// wide shows a number of 16 bytes.
func (s *shower) wide(low, high uint64) {
	if high == 0 {
		s.put("0x%x", low)
		return
	}
	s.put("0x%x%016x", high, low)
}

func (s *shower) enum(t *btf.Enum, b []byte) {
	v, bits := readUint(b[:t.Size], binary.NativeEndian), 8*int(t.Size)
	for _, x := range t.Values {
		if signExtend(x.Value, bits) == signExtend(v, bits) {
			s.put("%s", x.Name)
			return
		}
	}
	s.number(v, t.Size, t.Signed)
}

func (s *shower) array(t *btf.Array, b []byte) {
	size, ok := sizeOf(t.Type)
	if !ok {
		return
	}
	n, ok := btf.UnderlyingType(t.Type).(*btf.Int)
	s.chars, s.ended = ok && n.Size == 1, false
	s.begin(opening(t))
	for i := 0; i < int(t.Nelems) && s.left >= 0; i++ {
		s.inArray = true
		s.value(t.Type, b[i*size:])
		s.inArray = false
		if s.ended {
			break
		}
	}
	s.chars, s.ended = false, false
	s.end(']')
}

func (s *shower) members(members []btf.Member, b []byte) {
	for _, m := range members {
		if m.BitfieldSize > 0 {
			if v, ok := bitfield(m, b, binary.NativeEndian); ok {
				s.put("0x%x", v)
			}
			continue
		}
		if part, ok := slice(m, b); ok {
			s.value(m.Type, part)
		}
	}
	s.end('}')
}

// opening is the bracket in front of an array's elements: none where they are pointers in the end.
func opening(t *btf.Array) string {
	for range maxDepth {
		switch e := btf.UnderlyingType(t.Type).(type) {
		case *btf.Array:
			t = e
		case *btf.Pointer:
			return ""
		default:
			return "["
		}
	}
	return ""
}
