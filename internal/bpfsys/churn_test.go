//go:build linux

package bpfsys

import (
	"encoding/binary"
	"runtime"
	"testing"

	"github.com/cilium/ebpf/btf"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/isa"
)

// TestChurn makes and closes 24,000 maps and programs: memory stays flat, and
// so it does with all of them there at a time once they are closed.
func TestChurn(t *testing.T) {
	n := 24000
	if testing.Short() {
		n = 2400
	}
	s := newSystem(t, Options{KernelBTF: func() *btf.Spec { return nil }})
	fds := newTable()
	mem := make(bytesMemory, memSize)
	copy(mem[atLicense:], "GPL\x00")
	copy(mem[atInsns:], isa.Encode([]isa.Instruction{isa.Mov64Imm(0, 0), isa.ExitInsn()}, binary.NativeEndian))
	who := &Caller{Memory: mem, Files: fds, Caps: AllCaps}
	call := func(cmd Cmd, attr any) int32 {
		copy(mem[memSize-512:], raw(attr))
		fd, e := s.Bpf(who, uint32(cmd), memBase+memSize-512, attrSize)
		if e != 0 {
			t.Fatalf("%v: %v", cmd, e)
		}
		return fd
	}
	one := func() [2]int32 {
		return [2]int32{
			call(MapCreate, mapCreate{MapType: 2, KeySize: 4, ValueSize: 64, MaxEntries: 16}),
			call(ProgLoad, progLoad{ProgType: uint32(catalog.ProgXDP), InsnCnt: 2, Insns: memBase + atInsns, License: memBase + atLicense}),
		}
	}
	heap := func() uint64 {
		runtime.GC()
		s.m.Epoch.Reclaim()
		runtime.GC()
		var ms runtime.MemStats
		runtime.ReadMemStats(&ms)
		return ms.HeapAlloc
	}
	for range 100 {
		for _, fd := range one() {
			fds.close(fd)
		}
	}
	before := heap()
	for range n {
		for _, fd := range one() {
			fds.close(fd)
		}
	}
	if after := heap(); after > before+1<<20 {
		t.Errorf("%d bytes of heap after %d maps and programs one after the other, %d before", after, n, before)
	}
	all := make([][2]int32, n/4)
	for i := range all {
		all[i] = one()
	}
	for _, two := range all {
		fds.close(two[0])
		fds.close(two[1])
	}
	all = nil
	if after := heap(); after > before+8<<20 {
		t.Errorf("%d bytes of heap after %d maps and programs at a time, %d before", after, n/4, before)
	}
	if id, ok := s.m.Maps.NextID(0); ok {
		t.Errorf("map %d is left", id)
	}
}
