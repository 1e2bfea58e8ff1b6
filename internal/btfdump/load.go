package btfdump

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/skep-bpf/skep/internal/rawbtf"
)

// maxTypes bounds the types of one file; a distribution's kernel has some 200,000.
const maxTypes = 1 << 21

// ErrNoBTF says that a file is neither BTF nor an ELF file that has some.
var ErrNoBTF = errors.New("no BTF")

// Load reads BTF by itself, as in /sys/kernel/btf, or from the .BTF section of an
// ELF file. base is what split BTF builds on, nil for none.
func Load(data []byte, base *rawbtf.BTF) (*rawbtf.BTF, error) {
	if bytes.HasPrefix(data, []byte(elf.ELFMAG)) {
		var err error
		if data, err = section(data); err != nil {
			return nil, err
		}
	}
	if len(data) == 0 {
		return nil, fmt.Errorf("%w: it is empty", ErrNoBTF)
	} else if len(data) == 1 {
		return nil, fmt.Errorf("%w: one byte", ErrNoBTF)
	}
	for _, order := range []binary.ByteOrder{binary.LittleEndian, binary.BigEndian} {
		if order.Uint16(data) == rawbtf.Magic {
			b, err := rawbtf.ParseSplit(data, order, maxTypes, base)
			if err != nil {
				return nil, err
			}
			return b, check(b)
		}
	}
	return nil, fmt.Errorf("%w: neither an ELF file nor BTF", ErrNoBTF)
}

func section(data []byte) ([]byte, error) {
	f, err := elf.NewFile(bytes.NewReader(data))
	if err != nil {
		return nil, fmt.Errorf("%w: truncated or corrupt ELF file: %v", ErrNoBTF, err)
	}
	sec := f.Section(".BTF")
	if sec == nil || sec.Type == elf.SHT_NOBITS {
		return nil, fmt.Errorf("%w: there is no section .BTF: compile with -g", ErrNoBTF)
	}
	if sec.Offset > uint64(len(data)) || sec.FileSize > uint64(len(data))-sec.Offset {
		return nil, fmt.Errorf("%w: section .BTF ends beyond the file", ErrNoBTF)
	}
	return sec.Data()
}

// check makes sure that what types refer to is there, and that no type is made
// of itself.
func check(b *rawbtf.BTF) error {
	for id := b.First(); id < b.Count(); id++ {
		for _, ref := range refs(b, id) {
			if ref != 0 && !b.Valid(uint32(ref)) {
				return fmt.Errorf("%w: type %d refers to type %d, which is not there", rawbtf.ErrBad, id, ref)
			}
		}
	}
	return acyclic(b)
}

// refs returns the ids a type refers to; some may be 0, void.
func refs(b *rawbtf.BTF, id int) []int {
	var ids []int
	add := func(ms []member) {
		for _, m := range ms {
			ids = append(ids, m.typ)
		}
	}
	switch b.Kind(id) {
	case rawbtf.KindPtr, rawbtf.KindConst, rawbtf.KindVolatile, rawbtf.KindRestrict, rawbtf.KindTypedef,
		rawbtf.KindTypeTag, rawbtf.KindFunc, rawbtf.KindVar, rawbtf.KindDeclTag:
		ids = append(ids, int(b.Word(id, 2)))
	case rawbtf.KindArray:
		ids = append(ids, int(b.Word(id, 3)), int(b.Word(id, 4)))
	case rawbtf.KindStruct, rawbtf.KindUnion:
		add(members(b, id))
	case rawbtf.KindFuncProto:
		ids = append(ids, int(b.Word(id, 2)))
		add(params(b, id))
	case rawbtf.KindDatasec:
		for j := range b.Vlen(id) {
			ids = append(ids, int(b.Word(id, rawbtf.SecVar(j))))
		}
	}
	return ids
}

// contains returns the ids a type has within itself: those whose size it needs,
// and those that are written inside it.
func contains(b *rawbtf.BTF, id int) []int {
	switch b.Kind(id) {
	case rawbtf.KindConst, rawbtf.KindVolatile, rawbtf.KindRestrict, rawbtf.KindTypedef, rawbtf.KindTypeTag:
		return []int{int(b.Word(id, 2))}
	case rawbtf.KindArray:
		return []int{int(b.Word(id, 3))}
	case rawbtf.KindStruct, rawbtf.KindUnion:
		return refs(b, id)
	}
	return nil
}

// What nests: maxDepth bounds how deep types lie in one another, and so the stack
// of everything here that follows them; maxParts how much a type without a name
// is, with all such within it, as it is written out wherever it is mentioned.
const (
	maxDepth = 256
	maxParts = 1 << 16
)

// acyclic refuses types that contain themselves, chains of pointers that lead
// back without a name to stop at, and what nests too deep or is too much.
func acyclic(b *rawbtf.BTF) error {
	depth := make([]int16, b.Count()) // 0: not looked at, -1: being looked at
	parts := make([]int32, b.Count())
	tooDeep := func(id int) error {
		return fmt.Errorf("%w: type %d nests more than %d deep", rawbtf.ErrBad, id, maxDepth)
	}
	var visit func(id, level int) (int16, error)
	visit = func(id, level int) (int16, error) {
		switch d := depth[id]; {
		case id == 0:
			return 0, nil
		case level > maxDepth:
			return 0, tooDeep(id)
		case d > 0:
			return d, nil
		case d < 0:
			return 0, fmt.Errorf("%w: type %d is made of itself", rawbtf.ErrBad, id)
		}
		depth[id] = -1
		deepest, total := int16(0), int32(1)
		inner := contains(b, id)
		switch b.Kind(id) {
		case rawbtf.KindPtr, rawbtf.KindFuncProto:
			// What has no name is written out here.
			for _, ref := range refs(b, id) {
				if !named(b, plain(b, ref)) {
					inner = append(inner, ref)
				}
			}
		}
		for _, ref := range inner {
			d, err := visit(ref, level+1)
			if err != nil {
				return 0, err
			}
			deepest = max(deepest, d)
			if total++; !named(b, plain(b, ref)) {
				total += parts[ref]
			}
			if total > maxParts {
				return 0, fmt.Errorf("%w: type %d has more than %d parts without a name", rawbtf.ErrBad, id, maxParts)
			}
		}
		if deepest++; deepest > maxDepth {
			return 0, tooDeep(id)
		}
		depth[id], parts[id] = deepest, total
		return deepest, nil
	}
	for id := 1; id < b.Count(); id++ {
		if _, err := visit(id, 1); err != nil {
			return err
		}
	}
	return nil
}

// plain goes past qualifiers and tags, of which there are not many.
func plain(b *rawbtf.BTF, id int) int {
	for range maxDepth {
		switch b.Kind(id) {
		case rawbtf.KindConst, rawbtf.KindVolatile, rawbtf.KindRestrict, rawbtf.KindTypeTag:
			id = int(b.Word(id, 2))
		default:
			return id
		}
	}
	return id
}

// named reports whether other types can name a type instead of spelling it out.
func named(b *rawbtf.BTF, id int) bool {
	switch b.Kind(id) {
	case rawbtf.KindVoid:
		return true
	case rawbtf.KindStruct, rawbtf.KindUnion, rawbtf.KindEnum, rawbtf.KindEnum64, rawbtf.KindTypedef,
		rawbtf.KindFwd, rawbtf.KindInt, rawbtf.KindFloat:
		return b.Name(id) != ""
	}
	return false
}
