package run

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"testing"
	"unsafe"

	"github.com/skep-bpf/skep/internal/catalog"
	jitcode "github.com/skep-bpf/skep/internal/jit/code"
	"github.com/skep-bpf/skep/internal/maps"
	"github.com/skep-bpf/skep/internal/mem"
	"github.com/skep-bpf/skep/internal/packet"
	"github.com/skep-bpf/skep/isa"
)

// Native code and package maps mean the same places.
func TestElementLayout(t *testing.T) {
	if jitcode.ElemNext != maps.ElemNext || jitcode.ElemHash != maps.ElemHash || jitcode.ElemRef != maps.ElemRef ||
		jitcode.ElemKey != maps.ElemKey || uint32(jitcode.LinkEnd&0xffffffff) != maps.LinkEnd {
		t.Error("native code walks hash tables that are not maps'")
	}
	if jitcode.TrieChild != maps.LPMChild || jitcode.TriePrefix != maps.LPMPrefix || jitcode.TrieFlags != maps.LPMFlags ||
		jitcode.TrieData != maps.LPMData || jitcode.TrieIndexBits != maps.LPMIndexBits || jitcode.TrieIndexEntries != maps.LPMIndexEntries {
		t.Error("native code walks tries that are not maps'")
	}
	if jitcode.RingLock != maps.RingLock || jitcode.RingPending != maps.RingPending || jitcode.RingMask != maps.HeaderMask || jitcode.RingPage != os.Getpagesize() {
		t.Error("native code writes to rings that are not maps'")
	}
	if jitcode.MapMaxEntries != maps.HeaderMaxEntries || jitcode.MapBase != maps.HeaderBase ||
		jitcode.MapMask != maps.HeaderMask || jitcode.MapBuckets != maps.HeaderBuckets || jitcode.MapSeed != maps.HeaderSeed {
		t.Error("native code reads headers that are not maps'")
	}
	var f packet.Frame
	if jitcode.PacketData != unsafe.Offsetof(f.Data) || jitcode.PacketDataEnd != unsafe.Offsetof(f.DataEnd) || jitcode.PacketDataMeta != unsafe.Offsetof(f.DataMeta) ||
		jitcode.PacketHard != unsafe.Offsetof(f.HardStart) || jitcode.PacketEnd != unsafe.Offsetof(f.End) || jitcode.PacketXDPFlags != unsafe.Offsetof(f.XDPFlags) {
		t.Error("native code moves the edges of packets that are not package packet's")
	}
}

// A lookup that an engine carries out by itself finds what the map finds: for
// keys of all lengths, there or not, in full chains, on each CPU.
func TestLookups(t *testing.T) {
	each(t, Options{CPUs: 3}, func(t *testing.T, m *Machine) {
		if m.opts.Checked {
			t.Skip("the key is not the run's")
		}
		for _, typ := range []catalog.MapType{
			catalog.MapHash, catalog.MapLRUHash, catalog.MapPerCPUHash, catalog.MapLRUPerCPUHash, catalog.MapArray, catalog.MapPerCPUArray,
		} {
			for _, keySize := range []uint32{4, 6, 8, 12, 16, 20, 24, 28, 36, 40, 48, 52} {
				array := typ == catalog.MapArray || typ == catalog.MapPerCPUArray
				if array && keySize != 4 {
					continue
				}
				t.Run(fmt.Sprintf("%s/%d", typ, keySize), func(t *testing.T) { lookups(t, m, typ, keySize, array) })
			}
		}
	})
}

func lookups(t *testing.T, m *Machine, typ catalog.MapType, keySize uint32, array bool) {
	const entries = 200
	mp := newMap(t, m, catalog.MapDef{Type: typ, KeySize: keySize, ValueSize: 12, MaxEntries: entries})
	key, err := mem.Alloc(int(keySize))
	if err != nil {
		t.Fatal(err)
	}
	defer key.Free()
	setKey := func(i uint32) {
		binary.LittleEndian.PutUint32(key.Bytes(), i)
		for at := 4; at < len(key.Bytes()); at++ {
			key.Bytes()[at] = byte(i) * byte(at)
		}
	}
	if !array {
		for i := range uint32(entries) {
			setKey(2 * i)
			if err := mp.Update(key.Bytes(), make([]byte, mp.ValueSize()), 0); err != nil {
				t.Fatal(err)
			}
		}
	}
	p := programOn(t, m, mp.Def(),
		isa.LdImm64(isa.R1, mp.Def().Ptr), isa.LdImm64(isa.R2, key.Addr()), isa.Mov64Imm(isa.R6, 66),
		isa.HelperCall(int32(catalog.FnMapLookupElem)),
		isa.JmpImm(isa.Jeq, isa.R6, 66, 1), isa.Mov64Imm(isa.R0, -1), isa.ExitInsn())
	found := 0
	for cpu := range m.CPUs() {
		c := m.AcquireCPU(cpu)
		for i := range uint32(2 * entries) {
			setKey(i)
			want := maps.Unwrap(mp).ProgLookup(cpu, key.Addr())
			got, err := c.Run(p, 0, nil)
			if err != nil || got != want {
				t.Errorf("CPU %d, key %d: %#x (%v), want %#x", cpu, i, got, err, want)
				break
			}
			if want != 0 {
				found++
			}
		}
		c.Release()
	}
	if found == 0 || found == 2*entries*m.CPUs() {
		t.Errorf("%d found: the test sees one case only", found)
	}
}

// What an engine looks up counts as used: the map does not give it up first.
func TestLookupTouchesLRU(t *testing.T) {
	each(t, Options{CPUs: 1}, func(t *testing.T, m *Machine) {
		if m.opts.Checked {
			t.Skip("the key is not the run's")
		}
		mp := newMap(t, m, catalog.MapDef{Type: catalog.MapLRUHash, KeySize: 4, ValueSize: 8, MaxEntries: 4})
		key, err := mem.Alloc(4)
		if err != nil {
			t.Fatal(err)
		}
		defer key.Free()
		if err := mp.Update(u32(0), make([]byte, 8), 0); err != nil {
			t.Fatal(err)
		}
		p := programOn(t, m, mp.Def(), isa.LdImm64(isa.R1, mp.Def().Ptr), isa.LdImm64(isa.R2, key.Addr()),
			isa.HelperCall(int32(catalog.FnMapLookupElem)), isa.ExitInsn())
		value := runOn(t, m, p)
		elem := value - maps.ElemKey - 8
		if value == 0 || mem.Load32(elem+maps.ElemRef) != 1 {
			t.Errorf("value %#x is not marked as used", value)
		}
	})
}

// A walk through a trie that an engine makes by itself comes to where the map's
// does: for keys of all lengths, in small tries and in those with an index.
func TestTrieLookups(t *testing.T) {
	each(t, Options{CPUs: 1}, func(t *testing.T, m *Machine) {
		if m.opts.Checked {
			t.Skip("the key is not the run's")
		}
		for _, data := range []int{1, 2, 4, 6, 8, 16, 20} {
			for _, entries := range []int{3, 40, 600} {
				r := rand.New(rand.NewPCG(uint64(data), uint64(entries)))
				mp := newMap(t, m, catalog.MapDef{Type: catalog.MapLPMTrie, KeySize: uint32(4 + data), ValueSize: 12, MaxEntries: 4096, Flags: catalog.FlagNoPrealloc})
				key, err := mem.Alloc(4 + data)
				if err != nil {
					t.Fatal(err)
				}
				draw := func() {
					binary.NativeEndian.PutUint32(key.Bytes(), r.Uint32N(uint32(8*data)+2)) // one too long sometimes
					for i := range data {
						if key.Bytes()[4+i] = byte(r.Uint32()); r.IntN(3) != 0 {
							key.Bytes()[4+i] &= 0x81
						}
					}
				}
				for range entries {
					draw()
					_ = mp.Update(key.Bytes(), make([]byte, 12), 0)
				}
				p := programOn(t, m, mp.Def(), isa.LdImm64(isa.R1, mp.Def().Ptr), isa.LdImm64(isa.R2, key.Addr()), isa.Mov64Imm(isa.R6, 66),
					isa.HelperCall(int32(catalog.FnMapLookupElem)), isa.JmpImm(isa.Jeq, isa.R6, 66, 1), isa.Mov64Imm(isa.R0, -1), isa.ExitInsn())
				found := 0
				for range 3000 {
					draw()
					want := maps.Unwrap(mp).ProgLookup(0, key.Addr())
					if got := runOn(t, m, p); got != want {
						t.Fatalf("%d bytes, %d entries, key % x: %#x, want %#x", data, entries, key.Bytes(), got, want)
					}
					if want != 0 {
						found++
					}
				}
				if entries > 3 && (found == 0 || found == 3000) {
					t.Errorf("%d bytes, %d entries: %d of 3000 found: the test sees one case only", data, entries, found)
				}
				key.Free()
			}
		}
	})
}
