package image

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/skep-bpf/skep/internal/rawbtf"
	"github.com/skep-bpf/skep/isa"
)

// extInfo is .BTF.ext: per section of code, records that point at instructions.
// Offsets count slots from the start of the ELF section.
type extInfo struct {
	funcs map[string][]funcRec
	lines map[string][]lineRec
	cores map[string][]coreRec
}

// funcRec is struct bpf_func_info: the function that begins at slot.
type funcRec struct {
	slot int
	id   uint32
}

// lineRec is struct bpf_line_info.
type lineRec struct {
	slot             int
	fileOff, lineOff uint32
	pos              uint32 // line number << 10 | column
}

// coreRec is struct bpf_core_relo.
type coreRec struct {
	slot   int
	id     uint32 // local type
	access string // path into it, "0:1:2"
	kind   coreKind
}

// parseExtInfo reads a .BTF.ext section:
//
//	header:  magic 16 │ version 8 │ flags 8 │ header length 32 │ {offset, length} of func, line, core info
//	info:    record size 32 │ { section name 32 │ count 32 │ records… }…
func parseExtInfo(blob []byte, raw *rawBTF) (*extInfo, error) {
	order := raw.Order
	if len(blob) < 24 || order.Uint16(blob) != rawbtf.Magic || blob[2] != 1 {
		return nil, fmt.Errorf("%w: not a .BTF.ext header", ErrBadBTF)
	}
	hdr := order.Uint32(blob[4:])
	if hdr < 24 || uint64(hdr) > uint64(len(blob)) {
		return nil, fmt.Errorf("%w: .BTF.ext header of %d bytes", ErrBadBTF, hdr)
	}
	ext := &extInfo{funcs: map[string][]funcRec{}, lines: map[string][]lineRec{}, cores: map[string][]coreRec{}}
	err := eachRecord(blob, hdr, 8, 8, raw, func(sec string, slot int, rec []byte) {
		ext.funcs[sec] = append(ext.funcs[sec], funcRec{slot, order.Uint32(rec[4:])})
	})
	if err != nil {
		return nil, fmt.Errorf("function info: %w", err)
	}
	err = eachRecord(blob, hdr, 16, 16, raw, func(sec string, slot int, rec []byte) {
		ext.lines[sec] = append(ext.lines[sec], lineRec{slot, order.Uint32(rec[4:]), order.Uint32(rec[8:]), order.Uint32(rec[12:])})
	})
	if err != nil {
		return nil, fmt.Errorf("line info: %w", err)
	}
	if hdr < 32 {
		return ext.sorted(), nil
	}
	err = eachRecord(blob, hdr, 24, 16, raw, func(sec string, slot int, rec []byte) {
		ext.cores[sec] = append(ext.cores[sec], coreRec{slot, order.Uint32(rec[4:]), raw.Str(order.Uint32(rec[8:])), coreKind(order.Uint32(rec[12:]))})
	})
	if err != nil {
		return nil, fmt.Errorf("CO-RE relocations: %w", err)
	}
	return ext.sorted(), nil
}

// sorted puts each section's records in the order of their slots.
func (e *extInfo) sorted() *extInfo {
	for _, recs := range e.funcs {
		slices.SortStableFunc(recs, func(a, b funcRec) int { return cmp.Compare(a.slot, b.slot) })
	}
	for _, recs := range e.lines {
		slices.SortStableFunc(recs, func(a, b lineRec) int { return cmp.Compare(a.slot, b.slot) })
	}
	for _, recs := range e.cores {
		slices.SortStableFunc(recs, func(a, b coreRec) int { return cmp.Compare(a.slot, b.slot) })
	}
	return e
}

// eachRecord walks the info whose {offset, length} stands at field of the
// header. Records are at least need bytes long; what newer compilers add is passed over.
func eachRecord(blob []byte, hdr uint32, field int, need uint32, raw *rawBTF, do func(sec string, slot int, rec []byte)) error {
	order := raw.Order
	off, n := uint64(order.Uint32(blob[field:])), uint64(order.Uint32(blob[field+4:]))
	body := blob[hdr:]
	if n == 0 {
		return nil
	}
	if off+n > uint64(len(body)) || n < 4 {
		return fmt.Errorf("%w: %d bytes at %d end beyond the section", ErrBadBTF, n, off)
	}
	info := body[off : off+n]
	size := order.Uint32(info)
	if size < need || size%4 != 0 {
		return fmt.Errorf("%w: records of %d bytes", ErrBadBTF, size)
	}
	for info = info[4:]; len(info) > 0; {
		if len(info) < 8 {
			return fmt.Errorf("%w: section header is cut off", ErrBadBTF)
		}
		sec, count := raw.Str(order.Uint32(info)), uint64(order.Uint32(info[4:]))
		info = info[8:]
		if sec == "" || count == 0 || count*uint64(size) > uint64(len(info)) {
			return fmt.Errorf("%w: %d records for section %q", ErrBadBTF, count, sec)
		}
		for range count {
			at := order.Uint32(info)
			if at%isa.InsnSize != 0 {
				return fmt.Errorf("%w: record for byte %d of section %s", ErrBadBTF, at, sec)
			}
			do(sec, int(at/isa.InsnSize), info[:size])
			info = info[size:]
		}
	}
	return nil
}
