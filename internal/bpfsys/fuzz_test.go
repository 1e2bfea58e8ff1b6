//go:build linux

package bpfsys

import (
	"encoding/binary"
	"testing"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/isa"
)

// bytesMemory is a caller's memory that begins at address base.
type bytesMemory []byte

const memBase = 0x10000

func (m bytesMemory) at(addr uint64, n int) []byte {
	if addr < memBase || addr-memBase > uint64(len(m)) || uint64(n) > uint64(len(m))-(addr-memBase) {
		return nil
	}
	return m[addr-memBase:][:n]
}

func (m bytesMemory) Read(addr uint64, b []byte) bool {
	src := m.at(addr, len(b))
	copy(b, src)
	return src != nil
}

func (m bytesMemory) Write(addr uint64, b []byte) bool {
	dst := m.at(addr, len(b))
	copy(dst, b)
	return dst != nil
}

// FuzzBpf makes calls out of bytes: nothing panics, and when all descriptors
// are closed nothing may be left. Each call is a byte for the command, one for the
// attribute's size, and the attribute; objects of each kind are there from the start.
// Inputs that are of interest are not worth their minimising: -fuzzminimizetime 1x leaves
// the time to new ones.
func FuzzBpf(f *testing.F) {
	for _, seed := range fuzzSeeds() {
		f.Add(seed, []byte{})
	}
	z := newFuzzed(f)
	f.Fuzz(func(t *testing.T, calls, data []byte) { z.run(t, calls, data) })
}

// fuzzObjects are the descriptors of the first objects.
var fuzzObjects = map[string]int32{"hash": 1001, "queue": 1002, "progs": 1003, "filter": 1004, "xdp": 1005, "btf": 1006, "link": 1007,
	"cgskb": 1008, "tc": 1009, "array": 1010, "ro": 1011, "wo": 1012, "inners": 1013, "rawtp": 1014, "syscall": 1015, "flow": 1016,
	"netfilter": 1017, "uprobe": 1018, "socks": 1019, "skmsg": 1020, "lookup": 1021, "other": otherFD, "cg1": cgroupFD + 1}

// fuzzed is one system for many inputs. Its first objects outlive them, as
// making them takes most of the time; whoever has an input that leaves anything
// else makes them anew, after which nothing may be left.
type fuzzed struct {
	s     *System
	mem   bytesMemory
	base  *table // nil: to be made
	maps  int    // of the first objects
	progs int
	links int

	calls, successes int // made so far
}

func newFuzzed(t testing.TB) *fuzzed {
	return &fuzzed{s: newSystem(t, Options{}), mem: make(bytesMemory, memSize)}
}

func (z *fuzzed) call(fds *table, cmd Cmd, attr []byte, size uint32) errno.Errno {
	at := memSize - 512
	clear(z.mem[at:])
	copy(z.mem[at:], attr)
	who := &Caller{Memory: z.mem, Files: fds, Caps: AllCaps, Places: places{}}
	_, e := z.s.Bpf(who, uint32(cmd), memBase+uint64(at), size)
	z.calls++
	if e == 0 {
		z.successes++
	}
	return e
}

// fill writes what attributes point at.
func (z *fuzzed) fill(data []byte) {
	clear(z.mem[atKey:atLog])
	copy(z.mem[atKey:atInsns], data)
	copy(z.mem[atLicense:], "GPL\x00")
	copy(z.mem[atName:], "task_newtask\x00")
	copy(z.mem[atInsns:], isa.Encode([]isa.Instruction{isa.Mov64Imm(0, 0), isa.ExitInsn()}, binary.NativeEndian))
	copy(z.mem[atBTF:], smallBTF())
}

func (z *fuzzed) begin(t testing.TB) {
	base := func(off int) uint64 { return memBase + uint64(off) }
	z.base = newTable()
	load := func(typ catalog.ProgType) progLoad {
		return progLoad{ProgType: uint32(typ), InsnCnt: 2, Insns: base(atInsns), License: base(atLicense)}
	}
	z.fill(nil)
	of := func(typ catalog.ProgType, attach catalog.AttachType, flags uint32) progLoad {
		a := load(typ)
		a.ExpectedAttachType, a.ProgFlags = uint32(attach), flags
		return a
	}
	plain := mapCreate{MapType: 1, KeySize: 4, ValueSize: 8, MaxEntries: 8}
	flagged := func(flags uint32) mapCreate { a := plain; a.MapFlags = flags; return a }
	for i, o := range []struct { // in the order of fuzzObjects
		cmd  Cmd
		attr any
	}{
		{MapCreate, plain},
		{MapCreate, mapCreate{MapType: 22, ValueSize: 8, MaxEntries: 4}},
		{MapCreate, mapCreate{MapType: 3, KeySize: 4, ValueSize: 4, MaxEntries: 4}},
		{ProgLoad, load(catalog.ProgSocketFilter)},
		{ProgLoad, load(catalog.ProgXDP)},
		{BTFLoad, btfLoad{Btf: base(atBTF), BtfSize: uint32(len(smallBTF()))}},
		{LinkCreate, linkCreate{ProgFd: fuzzObjects["xdp"], TargetFd: 1, AttachType: uint32(catalog.AttachXDP)}},
		{ProgLoad, load(catalog.ProgCGroupSKB)},
		{ProgLoad, load(catalog.ProgSchedCls)},
		{MapCreate, mapCreate{MapType: 2, KeySize: 4, ValueSize: 8, MaxEntries: 4}},
		{MapCreate, flagged(catalog.FlagRdonly)},
		{MapCreate, flagged(catalog.FlagWronly)},
		{MapCreate, mapCreate{MapType: 12, KeySize: 4, ValueSize: 4, MaxEntries: 4, InnerMapFd: fuzzObjects["hash"]}},
		{ProgLoad, load(catalog.ProgRawTracepoint)},
		{ProgLoad, of(catalog.ProgSyscall, 0, catalog.LoadSleepable)},
		{ProgLoad, load(catalog.ProgFlowDissector)},
		{ProgLoad, of(catalog.ProgNetfilter, catalog.AttachNetfilter, 0)},
		{ProgLoad, of(catalog.ProgKprobe, catalog.AttachTraceUprobeMulti, 0)},
		{MapCreate, mapCreate{MapType: 15, KeySize: 4, ValueSize: 8, MaxEntries: 4}},
		{ProgLoad, load(catalog.ProgSkMsg)},
		{ProgLoad, of(catalog.ProgSkLookup, catalog.AttachSkLookup, 0)},
	} {
		if e := z.call(z.base, o.cmd, raw(o.attr), attrSize); e != 0 {
			t.Fatalf("first object %d: %v: %v", i, o.cmd, e)
		}
	}
	z.maps, z.progs, z.links = z.count()
}

func (z *fuzzed) count() (maps, progs, links int) {
	for _, c := range []struct {
		n    *int
		next func(uint32) (uint32, bool)
	}{{&maps, z.s.m.Maps.NextID}, {&progs, z.s.m.NextProgram}, {&links, z.s.links.next}} {
		for id, ok := c.next(0); ok; id, ok = c.next(id) {
			*c.n++
		}
	}
	return maps, progs, links
}

func (z *fuzzed) run(t testing.TB, calls, data []byte) {
	if z.base == nil {
		z.begin(t)
	}
	fds := newTable()
	fds.next = z.base.next
	for fd, f := range z.base.files {
		if f != nil && f.Get() {
			fds.files[fd] = f
		}
	}
	z.fill(data)
	for len(calls) >= 2 {
		cmd, size := Cmd(calls[0])%Cmd(len(commands)+1), min(int(calls[1]), len(calls)-2)
		attr := append([]byte(nil), calls[2:2+size]...)
		calls = calls[2+size:]
		tame(cmd, attr)
		z.call(fds, cmd, attr, uint32(size))
	}
	fds.closeAll()
	z.s.pins.Close()
	z.s.hooks.clear()
	if maps, progs, links := z.count(); maps == z.maps && progs == z.progs && links == z.links {
		return
	}
	z.base.closeAll() // which may have been all that held what is left
	z.base = nil
	if maps, progs, links := z.count(); maps+progs+links != 0 {
		t.Fatalf("%d maps, %d programs and %d links are left", maps, progs, links)
	}
}

// tame keeps a call from taking minutes or gigabytes, which no rule forbids.
func tame(cmd Cmd, b []byte) {
	var a attr
	copy(a.bytes(), b)
	switch cmd {
	case MapCreate:
		m := as[mapCreate](&a)
		m.MaxEntries &= 1<<13 - 1
		m.ValueSize &= 1<<10 - 1
		m.KeySize &= 1<<10 - 1
	case ProgTestRun:
		as[testRun](&a).Repeat &= 63
	}
	copy(b, a.bytes())
}
