package btfdump

import "github.com/skep-bpf/skep/internal/rawbtf"

// Encodings of integers (BTF_INT_*).
const (
	intSigned = 1
	intChar   = 2
	intBool   = 4
)

// member is a member of a struct or union, or a parameter, which has no place.
type member struct {
	name   string
	typ    int
	offset uint32 // in bits
	bits   uint32 // of a bit field, else 0
}

// members returns those of a struct or union. Where its kind_flag is set, an
// offset has the width of a bit field in its upper 8 bits.
func members(b *rawbtf.BTF, id int) []member {
	ms := make([]member, b.Vlen(id))
	for i := range ms {
		at := 3 + 3*i
		m := &ms[i]
		m.name, m.typ, m.offset = b.Str(b.Word(id, at)), int(b.Word(id, at+1)), b.Word(id, at+2)
		if b.Flag(id) {
			m.bits, m.offset = m.offset>>24, m.offset&0xffffff
		}
	}
	return ms
}

// params returns the parameters of a function's type. A last one without name
// and type stands for any number.
func params(b *rawbtf.BTF, id int) []member {
	ps := make([]member, b.Vlen(id))
	for i := range ps {
		at := 3 + 2*i
		ps[i].name, ps[i].typ = b.Str(b.Word(id, at)), int(b.Word(id, at+1))
	}
	return ps
}

// enumerator is a constant of an enum, sign-extended.
type enumerator struct {
	name  string
	value uint64
}

func enumerators(b *rawbtf.BTF, id int) []enumerator {
	es := make([]enumerator, b.Vlen(id))
	for i := range es {
		if b.Kind(id) == rawbtf.KindEnum64 {
			at := 3 + 3*i
			es[i] = enumerator{b.Str(b.Word(id, at)), uint64(b.Word(id, at+2))<<32 | uint64(b.Word(id, at+1))}
			continue
		}
		at := 3 + 2*i
		v := b.Word(id, at+1)
		es[i] = enumerator{b.Str(b.Word(id, at)), uint64(v)}
		if b.Flag(id) {
			es[i].value = uint64(int32(v))
		}
	}
	return es
}

// shown is the constant as a number of the enum's sign; of 64 bits, its text
// says so.
func (e enumerator) shown(b *rawbtf.BTF, id int) any {
	wide := b.Kind(id) == rawbtf.KindEnum64
	switch {
	case b.Flag(id) && wide:
		return signed(e.value)
	case b.Flag(id):
		return int32(e.value)
	case wide:
		return unsigned(e.value)
	}
	return uint32(e.value)
}
