package btfdump

import (
	"fmt"

	"github.com/skep-bpf/skep/internal/rawbtf"
)

// layout knows where a C compiler puts the members of structs and unions.
type layout struct {
	b       *rawbtf.BTF
	pointer uint32        // size of one, in bytes
	known   map[int]shape // of structs and unions
}

// shape is what is known of a struct or union.
type shape struct {
	align   uint32 // in bytes
	packed  bool
	aligned uint32 // has to be said, as its members do not ask for so much; 0 otherwise
}

func newLayout(b *rawbtf.BTF) layout {
	l := layout{b: b, pointer: 8, known: map[int]shape{}}
	for id := 1; id < b.Count(); id++ {
		if b.Kind(id) != rawbtf.KindInt {
			continue
		}
		switch b.Name(id) {
		case "long", "long int", "unsigned long", "long unsigned int":
			l.pointer = b.Word(id, 2)
			return l
		}
	}
	return l
}

// size returns the size of a type in bytes.
func (l *layout) size(id int) uint64 {
	switch l.b.Kind(id) {
	case rawbtf.KindInt, rawbtf.KindFloat, rawbtf.KindStruct, rawbtf.KindUnion, rawbtf.KindEnum, rawbtf.KindEnum64:
		return uint64(l.b.Word(id, 2))
	case rawbtf.KindPtr:
		return uint64(l.pointer)
	case rawbtf.KindArray:
		return l.size(int(l.b.Word(id, 3))) * uint64(l.b.Word(id, 5))
	case rawbtf.KindConst, rawbtf.KindVolatile, rawbtf.KindRestrict, rawbtf.KindTypedef, rawbtf.KindTypeTag:
		return l.size(int(l.b.Word(id, 2)))
	}
	return 0
}

// align returns what the address of a type has to be a multiple of, in bytes.
func (l *layout) align(id int) uint32 {
	switch l.b.Kind(id) {
	case rawbtf.KindInt, rawbtf.KindFloat, rawbtf.KindEnum, rawbtf.KindEnum64:
		if n := l.b.Word(id, 2); n <= 16 && n&(n-1) == 0 {
			return max(n, 1)
		}
		return 1
	case rawbtf.KindPtr:
		return l.pointer
	case rawbtf.KindArray:
		return l.align(int(l.b.Word(id, 3)))
	case rawbtf.KindConst, rawbtf.KindVolatile, rawbtf.KindRestrict, rawbtf.KindTypedef, rawbtf.KindTypeTag:
		return l.align(int(l.b.Word(id, 2)))
	case rawbtf.KindStruct, rawbtf.KindUnion:
		return l.shape(id).align
	}
	return 1
}

func (l *layout) packed(id int) bool    { return l.shape(id).packed }
func (l *layout) aligned(id int) uint32 { return l.shape(id).aligned }

// shape finds out how a struct or union was declared: packed, if a member lies
// where its type would not let it, or the whole is no multiple of what they ask for.
func (l *layout) shape(id int) shape {
	if s, ok := l.known[id]; ok {
		return s
	}
	s := shape{align: 1}
	size := uint64(l.b.Word(id, 2))
	widest := uint64(0)
	for _, m := range members(l.b, id) {
		align, bytes := l.align(m.typ), l.size(m.typ)
		s.align = max(s.align, align)
		unit := 8 * bytes
		switch {
		case m.bits == 0:
			s.packed = s.packed || m.offset%(8*align) != 0
			widest = max(widest, bytes)
		case unit != 0:
			s.packed = s.packed || uint64(m.offset)%unit+uint64(m.bits) > unit
			widest = max(widest, (uint64(m.bits)+7)/8)
		}
	}
	if s.packed = s.packed || size%uint64(s.align) != 0; s.packed {
		s.align = 1
	}
	if l.b.Kind(id) == rawbtf.KindUnion && roundUp(widest, uint64(s.align)) < size {
		// No padding makes a union longer.
		for n := uint64(2); n <= 4096 && size%n == 0; n *= 2 {
			if roundUp(widest, n) == size {
				s.align, s.aligned = uint32(n), uint32(n)
				break
			}
		}
	}
	l.known[id] = s
	return s
}

func roundUp(n, to uint64) uint64 { return (n + to - 1) / to * to }

// step is a member, or padding before or behind it.
type step struct {
	member *member
	pad    string // its declaration
}

// steps returns what to declare so that the members come to lie where they are.
func (l *layout) steps(id int, ms []member) []step {
	var steps []step
	s := l.shape(id)
	union := l.b.Kind(id) == rawbtf.KindUnion
	at := uint64(0)
	pad := func(to uint64) {
		for at < to {
			text, bits := padding(at, to)
			steps = append(steps, step{pad: text})
			at += bits
		}
	}
	for i := range ms {
		m := &ms[i]
		if !union && l.natural(at, m, s.packed) != uint64(m.offset) {
			pad(uint64(m.offset))
		}
		steps = append(steps, step{member: m})
		if at = uint64(m.offset) + uint64(m.bits); m.bits == 0 {
			at += 8 * l.size(m.typ)
		}
	}
	if end := 8 * uint64(l.b.Word(id, 2)); !union && roundUp(at, 8*uint64(s.align)) < end && len(steps) > 0 {
		pad(end)
	}
	return steps
}

// natural returns where a compiler puts a member, at being the first free bit.
func (l *layout) natural(at uint64, m *member, packed bool) uint64 {
	unit := 8 * l.size(m.typ)
	switch {
	case m.bits == 0 && packed:
		return roundUp(at, 8)
	case m.bits == 0:
		return roundUp(at, 8*uint64(l.align(m.typ)))
	case packed || unit == 0 || at%unit+uint64(m.bits) <= unit:
		return at
	}
	return roundUp(at, unit)
}

// maxPadding is how many bits are padded with bit fields, one below the other.
const maxPadding = 64 * 64

// padding returns the declaration of the widest bit field without a name that
// goes from at towards to, and its width; of what would take very many, that of
// an array.
func padding(at, to uint64) (text string, bits uint64) {
	if at%8 == 0 && to-at > maxPadding {
		n := (to - at) / 8
		return fmt.Sprintf("char __skip_%d[%d]", at/8, n), 8 * n
	}
	for _, u := range []struct {
		name string
		bits uint64
	}{{"long long", 64}, {"int", 32}, {"short", 16}, {"char", 8}} {
		if at%u.bits == 0 && to-at >= u.bits {
			return fmt.Sprintf("%s: %d", u.name, u.bits), u.bits
		}
	}
	bits = min(8-at%8, to-at)
	return fmt.Sprintf("char: %d", bits), bits
}
