//go:build linux

package maps_test

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/linux"
	"github.com/skep-bpf/skep/internal/maps"
	"github.com/skep-bpf/skep/internal/mem"
	"github.com/skep-bpf/skep/isa"
)

// progPair is a pair whose operations are also done by programs: on the
// kernel's side by an XDP program in a test run, on ours by the Prog methods.
type progPair struct {
	*pair
	cpu   int
	progs map[catalog.HelperID]*linux.LoadedProg
	block *mem.Block // key, value and result of our side
}

// Places in the packet: flags, key, value.
const (
	pktFlags = 16
	pktKey   = 24
	pktValue = 24 + 64
	pktLen   = 24 + 64 + 128
)

// pin keeps the test's goroutine on one CPU, which is returned.
func pin(t testing.TB) int {
	t.Helper()
	runtime.LockOSThread()
	var old, one unix.CPUSet
	if err := unix.SchedGetaffinity(0, &old); err != nil {
		t.Fatal(err)
	}
	cpu := 0
	for !old.IsSet(cpu) {
		cpu++
	}
	one.Set(cpu)
	if err := unix.SchedSetaffinity(0, &one); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		unix.SchedSetaffinity(0, &old)
		runtime.UnlockOSThread()
	})
	return cpu
}

func newProgPair(t testing.TB, d catalog.MapDef) *progPair {
	t.Helper()
	cpu := pin(t)
	cfg := config(t)
	cfg.CPU = func() int { return cpu }
	ours, err := maps.New(cfg, d)
	if err != nil {
		t.Fatalf("ours: %v", err)
	}
	t.Cleanup(ours.Close)
	kern, err := linux.NewMap(&d, nil)
	if err != nil {
		t.Fatalf("kernel: %v", err)
	}
	t.Cleanup(func() { kern.Close() })
	block, err := mem.Alloc(4096)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(block.Free)
	p := &progPair{pairOf(t, ours, kern), cpu, map[catalog.HelperID]*linux.LoadedProg{}, block}
	t.Cleanup(func() {
		for _, prog := range p.progs {
			prog.Close()
		}
	})
	return p
}

// prog returns a program that calls a map helper with what the packet holds and
// returns R0; the value that was found or filled in goes back into the packet.
func (p *progPair) prog(fn catalog.HelperID) *linux.LoadedProg {
	p.Helper()
	if prog := p.progs[fn]; prog != nil {
		return prog
	}
	def := p.ours.Def()
	const keyOff, valOff, flagOff = -64, -192, -200
	load := func(off, stack, size int32) isa.Instructions {
		if size == 0 {
			return nil
		}
		return isa.Program(isa.Mov64Reg(isa.R1, isa.R6), isa.Mov64Imm(isa.R2, off),
			isa.Mov64Reg(isa.R3, isa.RFP), isa.ALU64Imm(isa.Add, isa.R3, stack),
			isa.Mov64Imm(isa.R4, size), isa.HelperCall(int32(catalog.FnXDPLoadBytes)))
	}
	addr := func(r isa.Register, stack int32) isa.Instructions {
		return isa.Program(isa.Mov64Reg(r, isa.RFP), isa.ALU64Imm(isa.Add, r, stack))
	}
	store := func(from isa.Instructions) isa.Instructions {
		return isa.Program(isa.Mov64Reg(isa.R1, isa.R6), isa.Mov64Imm(isa.R2, pktValue), from,
			isa.Mov64Imm(isa.R4, int32(def.ValueSize)), isa.HelperCall(int32(catalog.FnXDPStoreBytes)))
	}
	flags := isa.LoadMem(isa.DW, isa.R4, isa.RFP, flagOff)
	parts := []isa.Part{isa.Mov64Reg(isa.R6, isa.R1), isa.StoreImm(isa.DW, isa.RFP, flagOff, 0),
		load(pktFlags, flagOff, 8), load(pktKey, keyOff, int32(def.KeySize)), load(pktValue, valOff, int32(def.ValueSize)),
		isa.LdMapFD(isa.R1, int32(p.kern.FD()))}
	call := isa.HelperCall(int32(fn))
	switch fn {
	case catalog.FnMapLookupElem, catalog.FnMapLookupPerCPUElem:
		found := store(isa.Program(isa.Mov64Reg(isa.R3, isa.R0)))
		parts = append(parts, addr(isa.R2, keyOff), isa.LoadMem(isa.DW, isa.R3, isa.RFP, flagOff), call,
			isa.JmpImm(isa.Jeq, isa.R0, 0, int16(len(found)+1)), found, isa.Mov64Imm(isa.R0, 1))
	case catalog.FnMapUpdateElem:
		parts = append(parts, addr(isa.R2, keyOff), addr(isa.R3, valOff), flags, call)
	case catalog.FnMapDeleteElem:
		parts = append(parts, addr(isa.R2, keyOff), call)
	case catalog.FnMapPushElem:
		parts = append(parts, addr(isa.R2, valOff), isa.LoadMem(isa.DW, isa.R3, isa.RFP, flagOff), call)
	case catalog.FnMapPopElem, catalog.FnMapPeekElem:
		parts = append(parts, addr(isa.R2, valOff), call, isa.Mov64Reg(isa.R7, isa.R0),
			store(addr(isa.R3, valOff)), isa.Mov64Reg(isa.R0, isa.R7))
	}
	prog, err := linux.Load(&linux.Prog{Type: catalog.ProgXDP, License: "GPL", Insns: isa.Program(append(parts, isa.ExitInsn())...)})
	if err != nil {
		p.Fatalf("program around helper %d: %+v", fn, err)
	}
	p.progs[fn] = prog
	return prog
}

// run calls the helper on both sides and compares R0 and the value left.
func (p *progPair) run(fn catalog.HelperID, key, value []byte, flags uint64) uint32 {
	p.Helper()
	pkt := make([]byte, pktLen)
	binary.NativeEndian.PutUint64(pkt[pktFlags:], flags)
	copy(pkt[pktKey:], key)
	copy(pkt[pktValue:], value)
	out, err := p.prog(fn).TestRun(&linux.Run{Data: pkt})
	if err != nil {
		p.Fatal(err)
	}
	def := p.ours.Def()
	k, v := p.block.Addr(), p.block.Addr()+1024
	vb := mem.Bytes(v, 128)
	copy(mem.Bytes(k, len(key)), key)
	clear(vb)
	copy(vb, value)
	var r0 uint64
	found := func(addr uint64) {
		if addr != 0 {
			copy(vb, mem.Bytes(addr, int(def.ValueSize)))
			r0 = 1
		}
	}
	m := p.ours
	switch fn {
	case catalog.FnMapLookupElem:
		found(m.ProgLookup(p.cpu, k))
	case catalog.FnMapLookupPerCPUElem:
		found(m.(maps.PerCPUMap).ProgLookupPerCPU(k, uint32(flags)))
	case catalog.FnMapUpdateElem:
		r0 = m.ProgUpdate(p.cpu, k, v, flags)
	case catalog.FnMapDeleteElem:
		r0 = m.ProgDelete(p.cpu, k)
	case catalog.FnMapPushElem:
		r0 = m.(maps.StackMap).ProgPush(v, flags)
	case catalog.FnMapPopElem:
		r0 = m.(maps.StackMap).ProgPop(v)
	case catalog.FnMapPeekElem:
		r0 = m.(maps.StackMap).ProgPeek(v)
	}
	what := fmt.Sprintf("helper %d key %x value %x flags %#x", fn, key, value, flags)
	if uint32(r0) != out.Ret {
		p.Fatalf("%s: R0 %d, kernel's %d", what, int32(r0), int32(out.Ret))
	}
	p.sameBytes(what, vb[:def.ValueSize], out.Data[pktValue:][:def.ValueSize])
	return out.Ret
}

// TestProgramsAgainstKernel mixes what programs and user space do to all keyed types.
func TestProgramsAgainstKernel(t *testing.T) {
	const seed = catalog.FlagZeroSeed
	for _, d := range []catalog.MapDef{
		def(catalog.MapArray, 4, 12, 5, 0), def(catalog.MapPerCPUArray, 4, 12, 5, 0),
		def(catalog.MapHash, 8, 12, 7, seed), def(catalog.MapHash, 8, 12, 7, seed|catalog.FlagNoPrealloc),
		def(catalog.MapPerCPUHash, 5, 12, 7, seed), def(catalog.MapPerCPUHash, 4, 8, 7, seed|catalog.FlagNoPrealloc),
		def(catalog.MapLRUHash, 4, 8, 1, seed), def(catalog.MapLRUHash, 4, 12, 4, seed), def(catalog.MapLRUHash, 8, 4, 40, seed),
		def(catalog.MapLRUHash, 4, 8, 700, seed), def(catalog.MapLRUHash, 4, 12, 7, seed|catalog.FlagNoCommonLRU),
		def(catalog.MapLRUHash, 4, 12, 60, seed|catalog.FlagNoCommonLRU),
		def(catalog.MapLRUPerCPUHash, 4, 12, 9, seed), def(catalog.MapLRUPerCPUHash, 4, 8, 50, seed|catalog.FlagNoCommonLRU),
	} {
		t.Run(fmt.Sprintf("%d/%d/%#x", d.Type, d.MaxEntries, d.Flags), func(t *testing.T) {
			p := newProgPair(t, d)
			r := rand.New(rand.NewPCG(5, uint64(d.MaxEntries)))
			keys := d.MaxEntries*3/2 + 3
			flags := []uint64{0, 0, 0, 0, 1, 2, 3, 4, 8}
			rounds := 60
			if d.MaxEntries > 100 {
				rounds = 20
			}
			for range rounds {
				for range 10 + d.MaxEntries/4 {
					key := binary.NativeEndian.AppendUint64(nil, uint64(r.Uint32N(keys)))[:d.KeySize]
					value := binary.NativeEndian.AppendUint64(binary.NativeEndian.AppendUint64(nil, r.Uint64()), r.Uint64())[:d.ValueSize]
					f := flags[r.IntN(len(flags))]
					switch r.IntN(10) {
					case 0, 1, 2, 3:
						p.run(catalog.FnMapUpdateElem, key, value, f)
					case 4, 5, 6, 7:
						p.run(catalog.FnMapLookupElem, key, value, 0)
					case 8:
						p.run(catalog.FnMapDeleteElem, key, value, 0)
					case 9:
						if _, ok := p.ours.(maps.PerCPUMap); ok {
							p.run(catalog.FnMapLookupPerCPUElem, key, value, uint64(r.IntN(4)))
						}
					}
				}
				randomHashOps(p.pair, r, 6, keys)
			}
			p.walk()
		})
	}
}

// TestStackProgramsAgainstKernel does the same to the types without keys.
func TestStackProgramsAgainstKernel(t *testing.T) {
	for _, typ := range []catalog.MapType{catalog.MapQueue, catalog.MapStack, catalog.MapBloomFilter} {
		t.Run(fmt.Sprint(typ), func(t *testing.T) {
			d := def(typ, 0, 12, 3, 0)
			if typ == catalog.MapBloomFilter {
				d.Flags = catalog.FlagZeroSeed
			}
			p := newProgPair(t, d)
			r := rand.New(rand.NewPCG(6, uint64(typ)))
			for range 200 {
				value := binary.NativeEndian.AppendUint64(binary.NativeEndian.AppendUint64(nil, uint64(r.IntN(9))), 0)[:12]
				switch r.IntN(4) {
				case 0, 1:
					p.run(catalog.FnMapPushElem, nil, value, []uint64{0, 0, 2, 2, 1, 3, 4}[r.IntN(7)])
				case 2:
					p.run(catalog.FnMapPeekElem, nil, value, 0)
				case 3:
					if typ != catalog.MapBloomFilter {
						p.run(catalog.FnMapPopElem, nil, value, 0)
					}
				}
			}
		})
	}
}

// TestLPMProgramsAgainstKernel looks up, adds and removes prefixes from programs.
func TestLPMProgramsAgainstKernel(t *testing.T) {
	p := newProgPair(t, def(catalog.MapLPMTrie, 8, 4, 30, catalog.FlagNoPrealloc))
	r := rand.New(rand.NewPCG(7, 7))
	for range 800 {
		key := binary.NativeEndian.AppendUint32(nil, r.Uint32N(34))
		for range 4 {
			key = append(key, []byte{0, 0x80, 0xff, byte(r.Uint32())}[r.IntN(4)])
		}
		switch r.IntN(4) {
		case 0, 1:
			p.run(catalog.FnMapUpdateElem, key, u32(r.Uint32()), []uint64{0, 0, 1, 2, 3, 4}[r.IntN(6)])
		case 2:
			p.run(catalog.FnMapLookupElem, key, u32(0), 0)
		case 3:
			p.run(catalog.FnMapDeleteElem, key, u32(0), 0)
		}
	}
	if p.walk() == 0 {
		t.Error("the trie is empty")
	}
}
