package maps_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/cilium/ebpf/btf"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/linux"
	"github.com/skep-bpf/skep/internal/maps"
)

// Types to build values of.
var (
	u32Type = &btf.Int{Name: "unsigned int", Size: 4}
	u64Type = &btf.Int{Name: "unsigned long long", Size: 8}
	lock    = &btf.Struct{Name: "bpf_spin_lock", Size: 4, Members: []btf.Member{{Name: "val", Type: u32Type}}}
	resLock = opaque("bpf_res_spin_lock", 1, u32Type)
	timer   = opaque("bpf_timer", 2, u64Type)
	wq      = opaque("bpf_wq", 2, u64Type)
	task    = opaque("bpf_task_work", 1, u64Type)
	head    = opaque("bpf_list_head", 2, u64Type)
	node    = opaque("bpf_list_node", 3, u64Type)
	count   = opaque("bpf_refcount", 1, u32Type)
	badLock = opaque("bpf_spin_lock", 2, u32Type)
)

// opaque is a struct of n words.
func opaque(name string, n int, word *btf.Int) *btf.Struct {
	s := &btf.Struct{Name: name, Size: uint32(n) * word.Size}
	for i := range n {
		s.Members = append(s.Members, btf.Member{Name: fmt.Sprintf("w%d", i), Type: word, Offset: btf.Bits(i) * btf.Bits(word.Size) * 8})
	}
	return s
}

// structOf lays members out one after the other, naturally aligned.
func structOf(types ...btf.Type) *btf.Struct {
	s := &btf.Struct{Name: "value"}
	for i, t := range types {
		size, err := btf.Sizeof(t)
		if err != nil {
			panic(err)
		}
		align := uint32(8)
		if size%8 != 0 {
			align = 4
		}
		s.Size = (s.Size + align - 1) &^ (align - 1)
		s.Members = append(s.Members, btf.Member{Name: fmt.Sprintf("m%d", i), Type: t, Offset: btf.Bits(s.Size) * 8})
		s.Size += uint32(size)
	}
	s.Size = (s.Size + 7) &^ 7
	return s
}

func withValue(d catalog.MapDef, v *btf.Struct) catalog.MapDef {
	d.Key, d.Value, d.ValueSize = u32Type, v, v.Size
	if d.KeySize == 8 {
		d.Key = structOf(u32Type, u32Type)
	}
	return d
}

func array(t btf.Type, n uint32) btf.Type { return &btf.Array{Index: u32Type, Type: t, Nelems: n} }

func kptr(tag string) btf.Type {
	return &btf.Pointer{Target: &btf.TypeTag{Value: tag, Type: &btf.Struct{Name: "task_struct", Size: 8, Members: []btf.Member{{Name: "x", Type: u64Type}}}}}
}

// TestSpecialFields says what is found where.
func TestSpecialFields(t *testing.T) {
	for _, c := range []struct {
		name  string
		value btf.Type
		want  []catalog.SpecialField
		err   error
	}{
		{"none", structOf(u64Type, u32Type), nil, nil},
		{"not a struct", u64Type, nil, nil},
		{"lock", structOf(u32Type, lock, u64Type), []catalog.SpecialField{{Kind: catalog.SpecialSpinLock, Off: 4, Size: 4}}, nil},
		{"two locks", structOf(lock, lock), nil, errno.E2BIG},
		{"lock and timer", structOf(lock, timer), []catalog.SpecialField{
			{Kind: catalog.SpecialSpinLock, Off: 0, Size: 4}, {Kind: catalog.SpecialTimer, Off: 8, Size: 16}}, nil},
		{"inside a struct", structOf(u64Type, structOf(u64Type, timer)), []catalog.SpecialField{{Kind: catalog.SpecialTimer, Off: 16, Size: 16}}, nil},
		{"kptr array", structOf(u64Type, array(kptr("kptr"), 2)), []catalog.SpecialField{
			{Kind: catalog.SpecialKptrRef, Off: 8, Size: 8, BTF: "task_struct"}, {Kind: catalog.SpecialKptrRef, Off: 16, Size: 8, BTF: "task_struct"}}, nil},
		{"unknown tag", structOf(kptr("other")), nil, errno.EINVAL},
		{"head without lock", &btf.Struct{Name: "v", Size: 16, Members: []btf.Member{{Type: head, Tags: []string{"contains:foo:node"}}}}, nil, errno.EINVAL},
		{"head", &btf.Struct{Name: "v", Size: 24, Members: []btf.Member{
			{Type: head, Tags: []string{"contains:foo:node"}}, {Type: lock, Offset: 128}}},
			[]catalog.SpecialField{{Kind: catalog.SpecialListHead, Size: 16, BTF: "foo", Node: "node"}, {Kind: catalog.SpecialSpinLock, Off: 16, Size: 4}}, nil},
		{"head without contents", structOf(lock, head), nil, errno.EINVAL},
		{"in an array of structs", structOf(array(structOf(kptr("kptr_untrusted"), u64Type), 3)), []catalog.SpecialField{
			{Kind: catalog.SpecialKptrUnref, Off: 0, Size: 8, BTF: "task_struct"}, {Kind: catalog.SpecialKptrUnref, Off: 16, Size: 8, BTF: "task_struct"},
			{Kind: catalog.SpecialKptrUnref, Off: 32, Size: 8, BTF: "task_struct"}}, nil},
		{"too many", structOf(array(kptr("kptr"), 12)), nil, errno.E2BIG},
		{"data section", &btf.Datasec{Name: ".data", Size: 8, Vars: []btf.VarSecinfo{
			{Type: &btf.Var{Name: "l", Type: lock}, Offset: 4, Size: 4}}}, []catalog.SpecialField{{Kind: catalog.SpecialSpinLock, Off: 4, Size: 4}}, nil},
	} {
		got, err := maps.SpecialFields(c.value)
		if err != c.err || !slices.Equal(got, c.want) {
			t.Errorf("%s: %+v, %v; want %+v, %v", c.name, got, err, c.want, c.err)
		}
	}
}

// TestSpecialCreate compares which types may have which special fields.
func TestSpecialCreate(t *testing.T) {
	cfg := config(t)
	values := map[string]*btf.Struct{
		"plain": structOf(u64Type, u32Type), "lock": structOf(u64Type, lock), "res_lock": structOf(u64Type, resLock),
		"timer": structOf(timer, u64Type), "wq": structOf(wq), "task_work": structOf(task),
		"two locks": structOf(lock, lock), "two timers": structOf(timer, timer), "lock array": structOf(array(lock, 2)),
		"lock of wrong size": structOf(badLock), "nested lock": structOf(u64Type, structOf(lock, u32Type)),
		"head without contents": structOf(lock, head), "list node": structOf(node), "refcount": structOf(count),
		"lock and timer": structOf(lock, timer), "lock and res_lock": structOf(lock, resLock),
		"kptr": structOf(kptr("kptr_untrusted")), "bad tag": structOf(kptr("nonsense")),
	}
	for typ := range catalog.MapArena {
		d := def(typ, 4, 8, 4, 0)
		switch typ {
		case catalog.MapLPMTrie:
			d = def(typ, 8, 8, 4, catalog.FlagNoPrealloc)
		case catalog.MapHash, catalog.MapArray, catalog.MapPerCPUHash, catalog.MapPerCPUArray, catalog.MapLRUHash, catalog.MapLRUPerCPUHash:
		default:
			continue // take no BTF
		}
		for name, v := range values {
			for _, flags := range []uint32{d.Flags, d.Flags | catalog.FlagRdonlyProg} {
				dv := withValue(d, v)
				dv.Flags = flags
				ours, err := maps.New(cfg, dv)
				if err == nil {
					ours.Close()
				}
				kern, kerr := linux.NewMap(&dv, nil)
				if kerr == nil {
					kern.Close()
				}
				if kerr != nil && !errors.As(kerr, new(*linux.Error)) {
					continue // the kernel refuses the types before there is a map
				}
				if a, b := number(t, err), number(t, kerr); a != b {
					t.Errorf("type %d with %s, flags %#x: %v, kernel says %v", typ, name, flags, a, b)
				}
			}
		}
	}
}

// TestSpecialAgainstKernel reads and writes values around a lock and a timer.
func TestSpecialAgainstKernel(t *testing.T) {
	v := structOf(u32Type, lock, u64Type, timer, u32Type)
	locked := structOf(u64Type, lock, u32Type)
	for _, d := range []catalog.MapDef{
		withValue(def(catalog.MapArray, 4, 0, 5, 0), v), withValue(def(catalog.MapHash, 4, 0, 5, catalog.FlagZeroSeed), v),
		withValue(def(catalog.MapHash, 4, 0, 5, catalog.FlagZeroSeed|catalog.FlagNoPrealloc), locked),
		withValue(def(catalog.MapLRUHash, 4, 0, 50, catalog.FlagZeroSeed), structOf(timer, u64Type)),
	} {
		t.Run(fmt.Sprint(d.Type, d.Flags), func(t *testing.T) {
			p := newPair(t, d)
			p.freeze()
			randomHashOps(p, rand.New(rand.NewPCG(11, 11)), 400, 7)
			all := bytes.Repeat([]byte{0xff}, p.vlen)
			p.update(u32(1), all, 0)
			got, e := p.lookup(u32(1), 0)
			if e == 0 && bytes.Equal(got, all) {
				t.Error("special fields are shown")
			}
			p.freeze()
		})
	}
}

// TestFreeFields: a field is given up when its element is deleted, overwritten,
// evicted, or goes with its map.
func TestFreeFields(t *testing.T) {
	freed := map[uint64]int{}
	cfg := &maps.Config{FreeField: func(f catalog.SpecialField, addr uint64) {
		if f.Kind == catalog.SpecialTimer {
			freed[addr]++
		}
	}}
	v := structOf(u64Type, timer)
	for _, typ := range []catalog.MapType{catalog.MapArray, catalog.MapHash, catalog.MapLRUHash} {
		clear(freed)
		m, err := maps.New(cfg, withValue(def(typ, 4, 0, 2, 0), v))
		if err != nil {
			t.Fatal(err)
		}
		s := newScratch(t)
		val := make([]byte, v.Size)
		at := func(k uint32) uint64 {
			m.Update(u32(k), val, 0)
			addr := m.ProgLookup(0, s.put(u32(k)))
			if addr == 0 {
				t.Fatalf("type %d: key %d is not there", typ, k)
			}
			copy(s.read(addr+8, 16), "a timer was here")
			return addr + 8
		}
		a := at(0)
		before := freed[a]
		m.Update(u32(0), val, 0)
		if freed[a] != before+1 {
			t.Errorf("type %d: overwriting frees %d timers", typ, freed[a]-before)
		}
		if typ != catalog.MapArray {
			b := at(1)
			before = freed[b]
			m.Delete(u32(1))
			if freed[b] != before+1 {
				t.Errorf("type %d: deleting frees %d timers", typ, freed[b]-before)
			}
		}
		c := at(1)
		before = freed[c]
		m.Close()
		if freed[c] != before+1 {
			t.Errorf("type %d: closing frees %d timers", typ, freed[c]-before)
		}
	}
}
