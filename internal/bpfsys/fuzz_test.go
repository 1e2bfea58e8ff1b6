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
// are closed nothing is left. Each call is a byte for the command, one for the
// attribute's size, and the attribute; objects of each kind are there from the start.
func FuzzBpf(f *testing.F) {
	add := func(cmd Cmd, attr any) { f.Add(append([]byte{byte(cmd), attrSize}, raw(attr)...), []byte{}) }
	d := &side{mem: make([]byte, memSize), made: map[string]int32{"hash": 1001, "queue": 1002, "progs": 1003, "filter": 1004, "xdp": 1005, "btf": 1006}}
	for _, b := range basesAt(d, func(off int) uint64 { return memBase + uint64(off) }) {
		add(b.cmd, b.attr)
	}
	s := newSystem(f, Options{})
	f.Fuzz(func(t *testing.T, calls, data []byte) {
		mem := make(bytesMemory, memSize)
		fds := newTable()
		who := &Caller{Memory: mem, Files: fds, Caps: AllCaps}
		call := func(cmd Cmd, attr []byte, size uint32) errno.Errno {
			at := memSize - 512
			copy(mem[at:], attr)
			_, e := s.Bpf(who, uint32(cmd), memBase+uint64(at), size)
			return e
		}
		base := func(off int) uint64 { return memBase + uint64(off) }
		copy(mem[atLicense:], "GPL\x00")
		copy(mem[atName:], "task_newtask\x00")
		copy(mem[atInsns:], isa.Encode([]isa.Instruction{isa.Mov64Imm(0, 0), isa.ExitInsn()}, binary.NativeEndian))
		copy(mem[atBTF:], smallBTF())
		for _, a := range []struct {
			cmd  Cmd
			attr any
		}{
			{MapCreate, mapCreate{MapType: 1, KeySize: 4, ValueSize: 8, MaxEntries: 8}},
			{MapCreate, mapCreate{MapType: 22, ValueSize: 8, MaxEntries: 4}},
			{MapCreate, mapCreate{MapType: 3, KeySize: 4, ValueSize: 4, MaxEntries: 4}},
			{ProgLoad, progLoad{ProgType: uint32(catalog.ProgSocketFilter), InsnCnt: 2, Insns: base(atInsns), License: base(atLicense)}},
			{ProgLoad, progLoad{ProgType: uint32(catalog.ProgXDP), InsnCnt: 2, Insns: base(atInsns), License: base(atLicense)}},
			{BTFLoad, btfLoad{Btf: base(atBTF), BtfSize: uint32(len(smallBTF()))}},
		} {
			if e := call(a.cmd, raw(a.attr), attrSize); e != 0 {
				t.Fatal(a.cmd, e)
			}
		}
		copy(mem[:atLog], data)
		for len(calls) >= 2 {
			cmd, size := Cmd(calls[0])%Cmd(len(commands)+1), min(int(calls[1]), len(calls)-2)
			attr := append([]byte(nil), calls[2:2+size]...)
			calls = calls[2+size:]
			tame(cmd, attr)
			call(cmd, attr, uint32(size))
		}
		fds.closeAll()
		s.pins.Close()
		s.hooks.clear()
		if id, ok := s.m.Maps.NextID(0); ok {
			t.Fatalf("map %d is left", id)
		}
		if id, ok := s.m.NextProgram(0); ok {
			t.Fatalf("program %d is left", id)
		}
		if id, ok := s.links.next(0); ok {
			t.Fatalf("link %d is left", id)
		}
	})
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
