//go:build linux

package bpfsys

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strings"
	"testing"
	"unsafe"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/isa"
)

// told is a program's info with everything that is beside it.
type told struct {
	progInfo
	xlated, jited, maps, ksyms, lens, funcs, lines, jitedLines, tags []byte
}

// ask asks for all arrays, in memory from atInfo on.
func (d *side) ask(t *testing.T, fd int32) (r told) {
	t.Helper()
	const room = 64 // elements of each
	in := (*progInfo)(unsafe.Pointer(&d.mem[atInfo]))
	*in = progInfo{FuncInfoRecSize: funcInfoSize, LineInfoRecSize: lineInfoSize, JitedLineInfoRecSize: 8}
	at := atInfo + 0x200
	parts := []struct {
		n    *uint32
		addr *uint64
		size int
		to   *[]byte
	}{
		{&in.XlatedProgLen, &in.XlatedProgInsns, 8, &r.xlated}, {&in.JitedProgLen, &in.JitedProgInsns, 8, &r.jited},
		{&in.NrMapIds, &in.MapIds, 4, &r.maps}, {&in.NrJitedKsyms, &in.JitedKsyms, 8, &r.ksyms},
		{&in.NrJitedFuncLens, &in.JitedFuncLens, 4, &r.lens}, {&in.NrFuncInfo, &in.FuncInfo, funcInfoSize, &r.funcs},
		{&in.NrLineInfo, &in.LineInfo, lineInfoSize, &r.lines}, {&in.NrJitedLineInfo, &in.JitedLineInfo, 8, &r.jitedLines},
		{&in.NrProgTags, &in.ProgTags, 8, &r.tags},
	}
	var from []int
	for i, p := range parts {
		*p.n, *p.addr = room, d.addr(at)
		if i < 2 { // in bytes
			*p.n = room * 8
		}
		from = append(from, at)
		at += room * p.size
	}
	if _, e := d.bpf(ObjGetInfoByFD, raw(objInfo{BpfFd: fd, InfoLen: uint32(unsafe.Sizeof(*in)), Info: d.addr(atInfo)}), attrSize); e != 0 {
		t.Fatalf("%s: %v", d.name, e)
	}
	r.progInfo = *in
	for i, p := range parts {
		n := int(*p.n) * p.size
		if i < 2 {
			n = int(*p.n)
		}
		*p.to = append([]byte(nil), d.mem[from[i]:][:min(n, room*p.size)]...)
	}
	return r
}

// TestProgramInfoAgainstKernel compares every field of a program's info, as far as it is not a number of
// the system's own, and holds what is to what goes with it.
func TestProgramInfoAgainstKernel(t *testing.T) {
	types := string(smallBTF())
	name := func(s string) uint32 {
		return uint32(strings.Index(types[strings.Index(types, "\x00int\x00"):], "\x00"+s+"\x00") + 1)
	}
	ne := binary.NativeEndian
	var got [2]told
	for i, d := range both(t) {
		code := isa.Program(isa.Mov64Imm(isa.R6, 1), isa.LdMapFD(isa.R1, d.made["array"]), isa.LdMapFD(isa.R2, d.made["hash"]),
			isa.Mov64Imm(isa.R0, 2), isa.ExitInsn())
		copy(d.mem[atInsns:], isa.Encode(code, ne))
		funcs, lines := d.mem[atData:], d.mem[atData+0x100:]
		ne.PutUint32(funcs, 0)
		ne.PutUint32(funcs[4:], 4)
		for n, slot := range []uint32{0, 5, 6} {
			rec := lines[n*lineInfoSize:]
			for j, w := range []uint32{slot, name("file.c"), name("return 0;"), uint32(10+n)<<10 | 3} {
				ne.PutUint32(rec[4*j:], w)
			}
		}
		a := d.load(catalog.ProgXDP)
		a.InsnCnt, a.ProgName = uint32(len(code)), [16]byte{'m', 'a', 'i', 'n'}
		a.ProgBtfFd, a.FuncInfo, a.FuncInfoCnt, a.FuncInfoRecSize = d.made["btf"], d.addr(atData), 1, funcInfoSize
		a.LineInfo, a.LineInfoCnt, a.LineInfoRecSize = d.addr(atData+0x100), 3, lineInfoSize
		fd := d.must(t, "told", ProgLoad, raw(a))
		d.must(t, "stats", EnableStats, raw(enableStats{}))
		run := testRun{ProgFd: fd, DataSizeIn: 64, DataIn: d.addr(atData + 0x400), Repeat: 3}
		if _, e := d.bpf(ProgTestRun, raw(run), attrSize); e != 0 {
			t.Fatalf("%s: %v", d.name, e)
		}
		r := d.ask(t, fd)
		got[i] = r
		whole := func(ok bool, what string, args ...any) {
			t.Helper()
			if !ok {
				t.Errorf("%s: "+what, append([]any{d.name}, args...)...)
			}
		}
		whole(r.Id != 0 && r.BtfId != 0 && r.LoadTime != 0, "id %d, BTF %d, loaded at %d", r.Id, r.BtfId, r.LoadTime)
		whole(r.RunTimeNs > 0, "three runs in no time")
		whole(len(r.maps) == 8 && !bytes.Equal(r.maps[:4], r.maps[4:]), "maps %x", r.maps)
		whole(bytes.Equal(r.tags, r.Tag[:]), "tags %x of a program with tag %x", r.tags, r.Tag)
		native := r.JitedProgLen != 0
		whole(native || i == 1, "the kernel's program is interpreted")
		if !native {
			continue
		}
		start, size := ne.Uint64(r.ksyms), uint64(ne.Uint32(r.lens))
		whole(start != 0 && size != 0 && size <= uint64(r.JitedProgLen), "a function of %d bytes at %#x of %d", size, start, r.JitedProgLen)
		prev := uint64(0)
		for at := range each(r.jitedLines, 8) {
			a := ne.Uint64(at)
			whole(a > prev && a >= start && a < start+size, "a line at %#x, after %#x, in %#x of %d", a, prev, start, size)
			prev = a
		}
		whole(ne.Uint64(r.jitedLines) == start, "the first line is not where the function is")
	}
	said := func(r *told) string {
		return fmt.Sprintf("type %d name %q tag %x uid %d gpl %d ifindex %d netns %d %d\nmaps %d xlated %d bytes\n"+
			"ksyms %d lens %d func info %d of %d: %x\nline info %d of %d: %x\njited lines %d of %d, tags %d\n"+
			"runs %d, missed %d, verified %d, attached to %d %d",
			r.Type, r.Name, r.Tag, r.CreatedByUid, r.GplCompatible, r.Ifindex, r.NetnsDev, r.NetnsIno, r.NrMapIds, r.XlatedProgLen,
			r.NrJitedKsyms, r.NrJitedFuncLens, r.NrFuncInfo, r.FuncInfoRecSize, r.funcs, r.NrLineInfo, r.LineInfoRecSize, r.lines,
			r.NrJitedLineInfo, r.JitedLineInfoRecSize, r.NrProgTags, r.RunCnt, r.RecursionMisses, r.VerifiedInsns, r.AttachBtfObjId, r.AttachBtfId)
	}
	if a, b := said(&got[0]), said(&got[1]); a != b {
		t.Errorf("linux: %s\nskep: %s", a, b)
	}
}

// TestProgramInfoOfTracing: what a program attaches to is told by numbers of the kernel's types.
func TestProgramInfoOfTracing(t *testing.T) {
	spec := kernelSpec()
	var ids [2][2]uint32
	for i, d := range both(t) {
		typ, err := spec.AnyTypeByName("btf_trace_task_newtask")
		if err != nil {
			t.Skip(err)
		}
		id, err := spec.TypeID(typ)
		if err != nil {
			t.Fatal(err)
		}
		a := d.load(catalog.ProgTracing)
		a.ExpectedAttachType, a.AttachBtfId = uint32(catalog.AttachTraceRawTp), uint32(id)
		r := d.ask(t, d.must(t, "told", ProgLoad, raw(a)))
		ids[i] = [2]uint32{r.AttachBtfObjId, r.AttachBtfId}
		if r.AttachBtfId != uint32(id) {
			t.Errorf("%s: attached to %d, want %d", d.name, r.AttachBtfId, id)
		}
	}
	if ids[0] != ids[1] { // vmlinux is the first object of all
		t.Errorf("linux %d, skep %d", ids[0], ids[1])
	}
}
