//go:build linux

package bpfsys

import (
	"bytes"
	"encoding/binary"
	"errors"
	"slices"
	"strings"
	"testing"
	"unsafe"

	"github.com/cilium/ebpf/btf"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/oracle"
	"github.com/skep-bpf/skep/internal/run"
	"github.com/skep-bpf/skep/isa"
)

// TestKernelFunctions: a program is attached to a function of the kernel's once at a time, and 38 to each; fentry and
// fexit count together.
func TestKernelFunctions(t *testing.T) {
	s := newSystem(t, Options{})
	types := s.kernelBTF()
	if types == nil {
		oracle.Need(t, "kernel BTF", errors.New("none is to be had"))
	}
	id := func(name string) uint32 {
		var f *btf.Func
		if err := types.spec.TypeByName(name, &f); err != nil {
			oracle.Need(t, name, err)
		}
		id, err := types.spec.TypeID(f)
		if err != nil {
			t.Fatal(err)
		}
		return uint32(id)
	}
	fds := newTable()
	mem := make(bytesMemory, memSize)
	who := &Caller{Memory: mem, Files: fds, Caps: AllCaps}
	bpf := func(cmd Cmd, attr any) (int32, errno.Errno) {
		copy(mem[memSize-512:], raw(attr))
		return s.Bpf(who, uint32(cmd), memBase+memSize-512, attrSize)
	}
	insns, err := isa.Assemble("code", "r0 = 0\nexit\n", isa.Symbols{})
	if err != nil {
		t.Fatal(err)
	}
	copy(mem[atInsns:], isa.Encode(insns, binary.NativeEndian))
	copy(mem[atLicense:], "GPL\x00")
	load := func(attach catalog.AttachType, name string) int32 {
		a := loadAt(func(off int) uint64 { return memBase + uint64(off) }, catalog.ProgTracing)
		a.InsnCnt, a.AttachBtfId, a.ExpectedAttachType = uint32(len(insns)), id(name), uint32(attach)
		fd, e := bpf(ProgLoad, a)
		if e != 0 {
			t.Fatal(e, string(mem[atLog:][:bytes.IndexByte(mem[atLog:], 0)]))
		}
		return fd
	}
	attach := func(what string, fd int32, want errno.Errno) int32 {
		t.Helper()
		l, e := bpf(RawTracepointOpen, rawTracepointOpen{ProgFd: fd})
		if e != want {
			t.Errorf("%s: %v, want %v", what, e, want)
		}
		return l
	}
	const fn = "bpf_fentry_test1"
	first := load(catalog.AttachTraceFEntry, fn)
	l := attach("a program", first, 0)
	attach("twice", first, errno.EBUSY)
	fds.close(l)
	l = attach("again", first, 0)
	var last int32
	for n := 1; n < 38; n++ {
		kind := catalog.AttachTraceFEntry
		if n%2 != 0 {
			kind = catalog.AttachTraceFExit
		}
		last = attach("one more", load(kind, fn), 0)
	}
	over := load(catalog.AttachTraceFEntry, fn)
	attach("a 39th", over, errno.E2BIG)
	attach("twice, where there is no room", first, errno.E2BIG)
	attach("to another function", load(catalog.AttachTraceFEntry, "bpf_fentry_test2"), 0)
	fds.close(last)
	attach("where one went", over, 0)
	fds.close(l)
}

// TestProgramTargets loads programs that attach to a function of another, which
// stays as long as they do.
func TestProgramTargets(t *testing.T) {
	s := newSystem(t, Options{})
	if s.kernelBTF() == nil {
		oracle.Need(t, "kernel BTF", errors.New("none is to be had"))
	}
	fds := newTable()
	mem := make(bytesMemory, memSize)
	who := &Caller{Memory: mem, Files: fds, Caps: AllCaps}
	bpf := func(cmd Cmd, attr any) (int32, errno.Errno) {
		copy(mem[memSize-512:], raw(attr))
		return s.Bpf(who, uint32(cmd), memBase+memSize-512, attrSize)
	}
	log := func() string { return string(mem[atLog:][:bytes.IndexByte(mem[atLog:], 0)]) }
	code := func(text string) uint32 {
		insns, err := isa.Assemble("code", text, isa.Symbols{})
		if err != nil {
			t.Fatal(err)
		}
		copy(mem[atInsns:], isa.Encode(insns, binary.NativeEndian))
		return uint32(len(insns))
	}
	fn := &btf.Func{Name: "main", Linkage: btf.GlobalFunc, Type: &btf.FuncProto{
		Return: &btf.Int{Name: "int", Size: 4, Encoding: btf.Signed},
		Params: []btf.FuncParam{{Name: "ctx", Type: &btf.Pointer{Target: &btf.Struct{Name: "xdp_md", Size: 24}}}},
	}}
	b, err := btf.NewBuilder([]btf.Type{fn}, nil)
	if err != nil {
		t.Fatal(err)
	}
	types, err := b.Marshal(nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	id, err := b.Add(fn)
	if err != nil {
		t.Fatal(err)
	}
	copy(mem[atBTF:], types)
	copy(mem[atLicense:], "GPL\x00")
	binary.NativeEndian.PutUint32(mem[atData+4:], uint32(id)) // a bpf_func_info
	at := func(off int) uint64 { return memBase + uint64(off) }
	typesFD, e := bpf(BTFLoad, btfLoad{Btf: at(atBTF), BtfSize: uint32(len(types))})
	if e != 0 {
		t.Fatal(e)
	}
	load := func(typ catalog.ProgType, to int32, id uint32, typed bool, text string) (int32, errno.Errno) {
		a := loadAt(at, typ)
		a.InsnCnt = code(text)
		a.AttachProgFd, a.AttachBtfId = to, id
		if typ == catalog.ProgTracing {
			a.ExpectedAttachType = uint32(catalog.AttachTraceFEntry)
		}
		if typed {
			a.ProgBtfFd, a.FuncInfo, a.FuncInfoCnt, a.FuncInfoRecSize = typesFD, at(atData), 1, funcInfoSize
		}
		return bpf(ProgLoad, a)
	}
	const pass = "r0 = 2\nexit\n"
	target, e := load(catalog.ProgXDP, 0, 0, true, pass)
	if e != 0 {
		t.Fatal(e, log())
	}
	bare, e := load(catalog.ProgXDP, 0, 0, false, pass)
	if e != 0 {
		t.Fatal(e, log())
	}
	for _, c := range []struct {
		what  string
		typ   catalog.ProgType
		to    int32
		id    uint32
		typed bool
		text  string
		want  string
	}{
		{"no BTF", catalog.ProgTracing, bare, uint32(id), false, "r0 = 0\nexit\n", "FENTRY/FEXIT program can only be attached to another program annotated with BTF"},
		{"no id", catalog.ProgTracing, target, 0, false, "r0 = 0\nexit\n", "Tracing programs must provide btf_id"},
		{"no function", catalog.ProgTracing, target, uint32(id) + 100, false, "r0 = 0\nexit\n", "Subprog ? doesn't exist"},
		{"no argument", catalog.ProgTracing, target, uint32(id), false, "r1 = *(u64 *)(r1 + 8)\nr0 = 0\nexit\n", "func 'main' doesn't have 2-th argument"},
		{"replaced untyped", catalog.ProgExt, target, uint32(id), false, pass, "Program extension requires BTF"},
		{"of another type", catalog.ProgXDP, target, uint32(id), false, pass, ""},
	} {
		clear(mem[atLog:atBTF])
		_, e := load(c.typ, c.to, c.id, c.typed, c.text)
		if e != errno.EINVAL && e != errno.EACCES || !strings.Contains(log(), c.want) {
			t.Errorf("%s: %v %s", c.what, e, log())
		}
	}
	tracer, e := load(catalog.ProgTracing, target, uint32(id), false, "r1 = *(u64 *)(r1 + 0)\nr1 = *(u64 *)(r1 + 0)\nr0 = 0\nexit\n")
	if e != 0 {
		t.Fatal(e, log())
	}
	const long = "r0 = *(u32 *)(r1 + 4)\nr2 = *(u32 *)(r1 + 0)\nr0 -= r2\nr0 = 1\nexit\n"
	ext, e := load(catalog.ProgExt, target, uint32(id), true, long)
	if e != 0 {
		t.Fatal(e, log())
	}
	same, e := load(catalog.ProgXDP, 0, 0, true, long)
	if e != 0 {
		t.Fatal(e, log())
	}
	rewritten := func(fd int32) []isa.Instruction {
		p, f, e := open[*run.Program](&call{s: s, who: who}, fd)
		if e != 0 {
			t.Fatal(e)
		}
		defer f.Put()
		return p.Rewritten.Insns
	}
	if got, want := rewritten(ext), rewritten(same); !slices.Equal(got, want) {
		t.Errorf("a replacing program becomes\n%v\none of its target's type\n%v", got, want)
	}
	fds.close(same)
	for _, fd := range []int32{tracer, ext} {
		if _, e := bpf(ObjGetInfoByFD, objInfo{BpfFd: fd, InfoLen: 256, Info: at(atInfo)}); e != 0 {
			t.Fatal(e)
		}
		info := (*progInfo)(unsafe.Pointer(&mem[atInfo]))
		if info.AttachBtfId != uint32(id) || info.AttachBtfObjId == 0 {
			t.Errorf("attached to type %d of BTF %d", info.AttachBtfId, info.AttachBtfObjId)
		}
		clear(mem[atInfo:atData])
	}
	attached, e := bpf(RawTracepointOpen, rawTracepointOpen{ProgFd: tracer})
	if e != 0 {
		t.Fatal("attaching it:", e)
	}
	if _, e := bpf(ObjGetInfoByFD, objInfo{BpfFd: attached, InfoLen: 64, Info: at(atInfo)}); e != 0 {
		t.Fatal(e)
	}
	// The program it is attached to is told by its own id, not by its types'.
	if b := mem[atInfo:]; LinkType(u32at(b, 0)) != LinkTracing || u32at(b, 16) != uint32(catalog.AttachTraceFEntry) || u32at(b, 20) != 1 || u32at(b, 24) != uint32(id) {
		t.Errorf("link info: %x", b[:48])
	}
	for _, c := range []struct {
		what string
		fd   int32
		want errno.Errno
	}{{"a traced function replaced", ext, errno.EBUSY}, {"an attached program attached again", tracer, errno.EINVAL}} {
		if _, e := bpf(RawTracepointOpen, rawTracepointOpen{ProgFd: c.fd}); e != c.want {
			t.Errorf("%s: %v", c.what, e)
		}
	}
	for _, c := range []struct {
		what   string
		prog   int32
		target int32
		id     uint32
	}{
		{"a type without a program", ext, 0, uint32(id)}, {"a program without a type", ext, target, 0},
		{"another type", ext, target, uint32(id) + 1}, {"a target of a tracer", tracer, target, uint32(id)},
	} {
		a := linkCreate{ProgFd: c.prog, TargetFd: c.target}
		if c.prog == tracer {
			a.AttachType = uint32(catalog.AttachTraceFEntry)
		}
		binary.NativeEndian.PutUint32(a.Extra[:], c.id)
		if _, e := bpf(LinkCreate, a); e != errno.EINVAL {
			t.Errorf("%s: %v", c.what, e)
		}
	}
	held := s.m.Program(1)
	if held == nil {
		t.Fatal("no program 1")
	}
	held.Close()
	for _, fd := range []int32{target, bare} {
		fds.close(fd)
	}
	if held = s.m.Program(1); held == nil {
		t.Fatal("the target is gone while programs are attached to it")
	}
	held.Close()
	fds.close(ext)
	fds.close(attached)
	fds.close(typesFD)
	s.m.Epoch.Reclaim()
	if held = s.m.Program(1); held != nil { // the link had the tracer's
		t.Error("the target stays for good")
	}
	fds.close(tracer)
}
