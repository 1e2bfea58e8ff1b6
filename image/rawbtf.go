package image

import (
	"bytes"
	"encoding/binary"
	"fmt"
)

// maxTypes bounds the types of one object. The compiler emits only the types a
// program touches, a few thousand at most; readers of BTF recurse along chains
// of types, so the count also bounds their stack.
const maxTypes = 1 << 17

// BTF kinds (include/uapi/linux/btf.h) that this package looks at in raw form.
const (
	kindInt       = 1
	kindArray     = 3
	kindStruct    = 4
	kindUnion     = 5
	kindEnum      = 6
	kindFunc      = 12
	kindFuncProto = 13
	kindVar       = 14
	kindDatasec   = 15
	kindDeclTag   = 17
	kindMax       = 19
	kindEnum64    = kindMax
)

// Linkage of variables and functions (enum btf_func_linkage; BTF_VAR_* agree).
const (
	linkStatic = 0
	linkGlobal = 1
	linkExtern = 2
)

// rawBTF is BTF in wire format, to be edited in place: a loader completes what
// the compiler could not know (sizes, offsets, visibility) and must leave type
// ids and string offsets alone.
//
//	┌─────────┬─────────────────────────────┬─────────┐      type:  name_off │ info │ size or type │ words…
//	│ header  │ types, ids counted from 1   │ strings │      info:  kflag 1 │ kind 7 (24…30) │ vlen 16 (0…15)
//	└─────────┴─────────────────────────────┴─────────┘
type rawBTF struct {
	order   binary.ByteOrder
	types   []byte
	strings []byte
	offs    []int // of each type in types; element 0 (void) is unused
}

const (
	btfMagic      = 0xeb9f
	btfHeaderSize = 24
	btfTypeSize   = 12
)

// parseRawBTF checks that every type and string lies inside blob and copies it.
func parseRawBTF(blob []byte, order binary.ByteOrder) (*rawBTF, error) {
	if len(blob) < btfHeaderSize {
		return nil, fmt.Errorf("%w: %d bytes are too short for a header", ErrBadBTF, len(blob))
	}
	if m := order.Uint16(blob); m != btfMagic {
		return nil, fmt.Errorf("%w: magic %#04x", ErrBadBTF, m)
	}
	if v := blob[2]; v != 1 {
		return nil, fmt.Errorf("%w: version %d", ErrBadBTF, v)
	}
	hdr := order.Uint32(blob[4:])
	if hdr < btfHeaderSize || uint64(hdr) > uint64(len(blob)) {
		return nil, fmt.Errorf("%w: header of %d bytes", ErrBadBTF, hdr)
	}
	part := func(at int) ([]byte, error) {
		off, n := uint64(order.Uint32(blob[at:])), uint64(order.Uint32(blob[at+4:]))
		body := blob[hdr:]
		if off+n > uint64(len(body)) {
			return nil, fmt.Errorf("%w: part at %d with %d bytes ends beyond the section", ErrBadBTF, off, n)
		}
		return bytes.Clone(body[off : off+n]), nil
	}
	r := &rawBTF{order: order, offs: []int{0}}
	var err error
	if r.types, err = part(8); err != nil {
		return nil, err
	}
	if r.strings, err = part(16); err != nil {
		return nil, err
	}
	if n := len(r.strings); n == 0 || r.strings[0] != 0 || r.strings[n-1] != 0 {
		return nil, fmt.Errorf("%w: string table is not NUL-terminated", ErrBadBTF)
	}
	return r, r.index()
}

// index finds where each type begins.
func (r *rawBTF) index() error {
	for off := 0; off < len(r.types); {
		if len(r.types)-off < btfTypeSize {
			return fmt.Errorf("%w: type %d is cut off", ErrBadBTF, len(r.offs))
		}
		if len(r.offs) > maxTypes {
			return fmt.Errorf("%w: more than %d types", ErrTooLarge, maxTypes)
		}
		info := r.order.Uint32(r.types[off+4:])
		size, ok := btfExtra(info>>24&0x1f, int(info&0xffff))
		if !ok {
			return fmt.Errorf("%w: type %d has unknown kind %d", ErrBadBTF, len(r.offs), info>>24&0x1f)
		}
		size += btfTypeSize
		if len(r.types)-off < size {
			return fmt.Errorf("%w: type %d is cut off", ErrBadBTF, len(r.offs))
		}
		r.offs = append(r.offs, off)
		off += size
	}
	return nil
}

// btfExtra returns how many bytes follow the header of a type.
func btfExtra(kind uint32, vlen int) (int, bool) {
	switch kind {
	case kindInt, kindVar, kindDeclTag:
		return 4, true
	case kindArray:
		return 12, true
	case kindStruct, kindUnion, kindDatasec, kindEnum64:
		return 12 * vlen, true
	case kindEnum, kindFuncProto:
		return 8 * vlen, true
	}
	return 0, kind > 0 && kind <= kindMax
}

// bytes returns the blob again.
func (r *rawBTF) bytes() []byte {
	b := make([]byte, btfHeaderSize, btfHeaderSize+len(r.types)+len(r.strings))
	r.order.PutUint16(b, btfMagic)
	b[2] = 1
	for i, v := range []int{btfHeaderSize, 0, len(r.types), len(r.types), len(r.strings)} {
		r.order.PutUint32(b[4+4*i:], uint32(v))
	}
	return append(append(b, r.types...), r.strings...)
}

// count is one more than the highest type id.
func (r *rawBTF) count() int { return len(r.offs) }

// word returns the n-th 32-bit word of a type: 0 name, 1 info, 2 size or type, 3… what follows.
func (r *rawBTF) word(id, n int) uint32 { return r.order.Uint32(r.types[r.offs[id]+4*n:]) }

func (r *rawBTF) setWord(id, n int, v uint32) {
	r.order.PutUint32(r.types[r.offs[id]+4*n:], v)
}

func (r *rawBTF) kind(id int) uint32 { return r.word(id, 1) >> 24 & 0x1f }
func (r *rawBTF) vlen(id int) int    { return int(r.word(id, 1) & 0xffff) }
func (r *rawBTF) name(id int) string { return r.str(r.word(id, 0)) }

// str returns the string at off, "" outside the table.
func (r *rawBTF) str(off uint32) string {
	if uint64(off) >= uint64(len(r.strings)) {
		return ""
	}
	s := r.strings[off:]
	return string(s[:bytes.IndexByte(s, 0)])
}

// valid reports whether id names a type other than void.
func (r *rawBTF) valid(id uint32) bool { return id > 0 && uint64(id) < uint64(len(r.offs)) }

// secVar returns the position of the j-th variable of a DATASEC as three words
// for word and setWord: type, offset, size.
func secVar(j int) int { return 3 + 3*j }

// addVar appends a global variable and returns its id.
func (r *rawBTF) addVar(name string, typ int) int {
	nameOff := len(r.strings)
	r.strings = append(append(r.strings, name...), 0)
	id := len(r.offs)
	r.offs = append(r.offs, len(r.types))
	r.types = appendU32(r.types, r.order, uint32(nameOff), kindVar<<24, uint32(typ), linkGlobal)
	return id
}
