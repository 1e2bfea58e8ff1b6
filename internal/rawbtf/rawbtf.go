// Package rawbtf is BTF as it lies in a file: types by number, words and strings,
// to be read or edited in place (Documentation/bpf/btf.rst,
// include/uapi/linux/btf.h). Package btf of cilium/ebpf is for those who want
// types; it does not keep everything a file says.
package rawbtf

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
)

// Sentinels of what is wrong with BTF.
var (
	ErrBad      = errors.New("bad BTF")
	ErrTooLarge = errors.New("too large")
)

// Kind is a kind of type (BTF_KIND_*).
type Kind uint32

// Kinds, all of them.
const (
	KindVoid Kind = iota
	KindInt
	KindPtr
	KindArray
	KindStruct
	KindUnion
	KindEnum
	KindFwd
	KindTypedef
	KindVolatile
	KindConst
	KindRestrict
	KindFunc
	KindFuncProto
	KindVar
	KindDatasec
	KindFloat
	KindDeclTag
	KindTypeTag
	KindEnum64
	kinds
)

// kindRows say of each kind its name and how many bytes follow the header of a
// type: some always, and some for each of its members.
var kindRows = [kinds]struct {
	name        string
	extra, each int
}{
	KindVoid:      {"UNKNOWN", 0, 0},
	KindInt:       {"INT", 4, 0},
	KindPtr:       {"PTR", 0, 0},
	KindArray:     {"ARRAY", 12, 0},
	KindStruct:    {"STRUCT", 0, 12},
	KindUnion:     {"UNION", 0, 12},
	KindEnum:      {"ENUM", 0, 8},
	KindFwd:       {"FWD", 0, 0},
	KindTypedef:   {"TYPEDEF", 0, 0},
	KindVolatile:  {"VOLATILE", 0, 0},
	KindConst:     {"CONST", 0, 0},
	KindRestrict:  {"RESTRICT", 0, 0},
	KindFunc:      {"FUNC", 0, 0},
	KindFuncProto: {"FUNC_PROTO", 0, 8},
	KindVar:       {"VAR", 4, 0},
	KindDatasec:   {"DATASEC", 0, 12},
	KindFloat:     {"FLOAT", 0, 0},
	KindDeclTag:   {"DECL_TAG", 4, 0},
	KindTypeTag:   {"TYPE_TAG", 0, 0},
	KindEnum64:    {"ENUM64", 0, 12},
}

// String returns the kind's name in the kernel's headers.
func (k Kind) String() string {
	if k < kinds {
		return kindRows[k].name
	}
	return fmt.Sprintf("kind %d", uint32(k))
}

// Linkage of variables and functions (enum btf_func_linkage; BTF_VAR_* agree).
const (
	LinkStatic = 0
	LinkGlobal = 1
	LinkExtern = 2
)

// BTF is types in wire format. Whoever edits them must leave ids and string
// offsets alone.
//
//	┌─────────┬─────────────────────────────┬─────────┐      type:  name_off │ info │ size or type │ words…
//	│ header  │ types, ids counted from 1   │ strings │      info:  kflag 1 │ kind 5 (24…28) │ vlen 16 (0…15)
//	└─────────┴─────────────────────────────┴─────────┘
type BTF struct {
	Order   binary.ByteOrder
	types   []byte
	strings []byte
	offs    []int // of each type in types; element 0 (void) is unused
	base    *BTF  // whose ids and strings come before these, or nil
}

// Magic begins BTF; read in the wrong byte order it is 0x9feb.
const Magic = 0xeb9f

const (
	headerSize = 24
	typeSize   = 12
)

// Parse checks that every type and string lies inside blob, and copies it. More
// than maxTypes are too many.
func Parse(blob []byte, order binary.ByteOrder, maxTypes int) (*BTF, error) {
	return ParseSplit(blob, order, maxTypes, nil)
}

// ParseSplit is Parse for BTF whose ids and strings go on where those of base
// end, as a kernel module's do.
func ParseSplit(blob []byte, order binary.ByteOrder, maxTypes int, base *BTF) (*BTF, error) {
	if len(blob) < headerSize {
		return nil, fmt.Errorf("%w: %d bytes are too short for a header", ErrBad, len(blob))
	}
	if m := order.Uint16(blob); m != Magic {
		return nil, fmt.Errorf("%w: magic %#04x", ErrBad, m)
	}
	if v := blob[2]; v != 1 {
		return nil, fmt.Errorf("%w: version %d", ErrBad, v)
	}
	hdr := order.Uint32(blob[4:])
	if hdr < headerSize || uint64(hdr) > uint64(len(blob)) {
		return nil, fmt.Errorf("%w: header of %d bytes", ErrBad, hdr)
	}
	part := func(at int) ([]byte, error) {
		off, n := uint64(order.Uint32(blob[at:])), uint64(order.Uint32(blob[at+4:]))
		body := blob[hdr:]
		if off+n > uint64(len(body)) {
			return nil, fmt.Errorf("%w: part at %d with %d bytes ends beyond the section", ErrBad, off, n)
		}
		return bytes.Clone(body[off : off+n]), nil
	}
	r := &BTF{Order: order, offs: []int{0}, base: base}
	var err error
	if r.types, err = part(8); err != nil {
		return nil, err
	}
	if r.strings, err = part(16); err != nil {
		return nil, err
	}
	switch n := len(r.strings); {
	case n == 0 && base != nil: // it gets by with the base's
	case n == 0 || r.strings[n-1] != 0 || base == nil && r.strings[0] != 0:
		return nil, fmt.Errorf("%w: string table is not NUL-terminated", ErrBad)
	}
	return r, r.index(maxTypes)
}

// index finds where each type begins.
func (r *BTF) index(maxTypes int) error {
	for off := 0; off < len(r.types); {
		if len(r.types)-off < typeSize {
			return fmt.Errorf("%w: type %d is cut off", ErrBad, len(r.offs))
		}
		if len(r.offs) > maxTypes {
			return fmt.Errorf("%w: more than %d types", ErrTooLarge, maxTypes)
		}
		info := r.Order.Uint32(r.types[off+4:])
		kind := Kind(info >> 24 & 0x1f)
		if kind == KindVoid || kind >= kinds {
			return fmt.Errorf("%w: type %d has unknown kind %d", ErrBad, len(r.offs), kind)
		}
		size := typeSize + kindRows[kind].extra + kindRows[kind].each*int(info&0xffff)
		if len(r.types)-off < size {
			return fmt.Errorf("%w: type %d is cut off", ErrBad, len(r.offs))
		}
		r.offs = append(r.offs, off)
		off += size
	}
	return nil
}

// Bytes returns the BTF as a blob again.
func (r *BTF) Bytes() []byte {
	b := make([]byte, headerSize, headerSize+len(r.types)+len(r.strings))
	r.Order.PutUint16(b, Magic)
	b[2] = 1
	for i, v := range []int{headerSize, 0, len(r.types), len(r.types), len(r.strings)} {
		r.Order.PutUint32(b[4+4*i:], uint32(v))
	}
	return append(append(b, r.types...), r.strings...)
}

// First is the lowest type id that is not the base's: 1 without one.
func (r *BTF) First() int {
	if r.base == nil {
		return 1
	}
	return r.base.Count()
}

// Count is one more than the highest type id.
func (r *BTF) Count() int { return r.First() - 1 + len(r.offs) }

// Valid reports whether id names a type other than void.
func (r *BTF) Valid(id uint32) bool { return id > 0 && uint64(id) < uint64(r.Count()) }

// Word returns the n-th 32-bit word of a type: 0 name, 1 info, 2 size or type, 3… what follows.
func (r *BTF) Word(id, n int) uint32 {
	if first := r.First(); id >= first {
		return r.Order.Uint32(r.types[r.offs[id-first+1]+4*n:])
	}
	return r.base.Word(id, n)
}

// SetWord changes the n-th word of a type that is not the base's.
func (r *BTF) SetWord(id, n int, v uint32) {
	r.Order.PutUint32(r.types[r.offs[id-r.First()+1]+4*n:], v)
}

// Kind returns a type's kind.
func (r *BTF) Kind(id int) Kind {
	if id == 0 {
		return KindVoid
	}
	return Kind(r.Word(id, 1) >> 24 & 0x1f)
}

// Vlen returns how many members a type has; of a function, its linkage.
func (r *BTF) Vlen(id int) int { return int(r.Word(id, 1) & 0xffff) }

// Flag returns the kind_flag of a type.
func (r *BTF) Flag(id int) bool { return r.Word(id, 1)>>31 != 0 }

// Name returns a type's name, "" for none.
func (r *BTF) Name(id int) string { return r.Str(r.Word(id, 0)) }

// Str returns the string at off, "" outside the table.
func (r *BTF) Str(off uint32) string {
	at := uint64(off)
	if r.base != nil {
		n := r.base.stringsEnd()
		if at < n {
			return r.base.Str(off)
		}
		at -= n
	}
	if at >= uint64(len(r.strings)) {
		return ""
	}
	s := r.strings[at:]
	return string(s[:bytes.IndexByte(s, 0)])
}

// stringsEnd is the offset behind the last string.
func (r *BTF) stringsEnd() uint64 {
	n := uint64(len(r.strings))
	if r.base != nil {
		n += r.base.stringsEnd()
	}
	return n
}

// SecVar returns the position of the j-th variable of a DATASEC as three words
// for Word and SetWord: type, offset, size.
func SecVar(j int) int { return 3 + 3*j }

// AddVar appends a global variable and returns its id.
func (r *BTF) AddVar(name string, typ int) int {
	nameOff := len(r.strings)
	r.strings = append(append(r.strings, name...), 0)
	id := len(r.offs)
	r.offs = append(r.offs, len(r.types))
	for _, v := range [...]uint32{uint32(nameOff), uint32(KindVar) << 24, uint32(typ), LinkGlobal} {
		r.types = append(r.types, 0, 0, 0, 0)
		r.Order.PutUint32(r.types[len(r.types)-4:], v)
	}
	return id
}
