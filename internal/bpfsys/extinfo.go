package bpfsys

import (
	"encoding/binary"

	"github.com/cilium/ebpf/btf"

	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/verifier"
)

// Sizes of the records PROG_LOAD takes, in bytes (uapi): those the kernel must
// be given at least, and the most it looks at.
const (
	funcInfoSize = 8
	lineInfoSize = 16
	maxRecord    = 252 // MAX_FUNCINFO_REC_SIZE, MAX_LINEINFO_REC_SIZE
)

// btfInfo reads the program's types and the records that go by them (check_btf_info).
func (l *loading) btfInfo() errno.Errno {
	a := l.a
	if a.FuncInfoCnt == 0 && a.LineInfoCnt == 0 {
		return 0
	}
	b, f, e := open[*BTF](l.call, a.ProgBtfFd)
	if e != 0 {
		return e
	}
	l.held = append(l.held, f)
	if b.kernel {
		return errno.EACCES
	}
	l.types, l.vp.BTF = b, b.spec
	recs, e := l.records(a.FuncInfo, a.FuncInfoCnt, a.FuncInfoRecSize, funcInfoSize)
	if e != 0 {
		return e
	}
	for r := range each(recs, funcInfoSize) {
		off, id := binary.NativeEndian.Uint32(r), binary.NativeEndian.Uint32(r[4:])
		t, err := b.spec.TypeByID(btf.TypeID(id))
		fn, ok := t.(*btf.Func)
		if err != nil || !ok || uint64(off) >= uint64(len(l.vp.Insns)) {
			return errno.EINVAL
		}
		l.vp.Funcs = append(l.vp.Funcs, verifier.FuncInfo{Slot: int(off), Func: fn})
	}
	l.funcRecs = recs
	if recs, e = l.records(a.LineInfo, a.LineInfoCnt, a.LineInfoRecSize, lineInfoSize); e != 0 {
		return e
	}
	prev := -1
	for r := range each(recs, lineInfoSize) {
		off := binary.NativeEndian.Uint32(r)
		file, ok := b.str(binary.NativeEndian.Uint32(r[4:]))
		text, ok2 := b.str(binary.NativeEndian.Uint32(r[8:]))
		col := binary.NativeEndian.Uint32(r[12:])
		if !ok || !ok2 || int64(off) <= int64(prev) || uint64(off) >= uint64(len(l.vp.Insns)) || l.vp.Insns[off].Op == 0 {
			return errno.EINVAL
		}
		prev = int(off)
		l.vp.Lines = append(l.vp.Lines, verifier.LineInfo{
			Slot: int(off), File: file, Line: text, LineNo: int(col >> 10), Column: int(col&1<<10 - 1),
		})
	}
	l.lineRecs = recs
	return 0
}

// records reads count records of size bytes and keeps what is known of each;
// the rest must be zero.
func (l *loading) records(addr uint64, count, size uint32, known int) ([]byte, errno.Errno) {
	if count == 0 {
		return nil, 0
	}
	if size < uint32(known) || size > maxRecord || size%4 != 0 || uint64(count) > uint64(len(l.vp.Insns)) {
		return nil, errno.EINVAL
	}
	out := make([]byte, 0, int(count)*known)
	for i := range uint64(count) {
		at := addr + i*uint64(size)
		if e := l.zeroFrom(at, uint32(known), size); e != 0 {
			return nil, e
		}
		r, e := l.read(at, known)
		if e != 0 {
			return nil, e
		}
		out = append(out, r...)
	}
	return out, 0
}

// each yields records of size bytes.
func each(recs []byte, size int) func(yield func([]byte) bool) {
	return func(yield func([]byte) bool) {
		for ; len(recs) >= size; recs = recs[size:] {
			if !yield(recs[:size]) {
				return
			}
		}
	}
}
