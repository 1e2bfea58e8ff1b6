package maps_test

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/cilium/ebpf/btf"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/maps"
	"github.com/skep-bpf/skep/internal/mem"
)

// TestAccessAgainstKernel does everything through descriptors that may only
// read or only write, frozen or not.
func TestAccessAgainstKernel(t *testing.T) {
	for _, access := range []uint32{0, catalog.FlagRdonly, catalog.FlagWronly} {
		for _, d := range []catalog.MapDef{
			def(catalog.MapArray, 4, 8, 2, access), def(catalog.MapHash, 4, 8, 2, access|catalog.FlagZeroSeed),
			def(catalog.MapQueue, 0, 8, 2, access), def(catalog.MapPerCPUHash, 4, 8, 2, access|catalog.FlagZeroSeed),
		} {
			t.Run(fmt.Sprintf("%d/%#x", d.Type, access), func(t *testing.T) {
				p := newPair(t, d)
				if got := p.ours.Def().Flags; got&access != 0 {
					t.Errorf("the map keeps the descriptor's flags: %#x", got)
				}
				key := u32(1)[:d.KeySize]
				if d.KeySize == 0 {
					key = nil
				}
				value := bytes.Repeat([]byte{7}, p.vlen)
				for range 2 {
					for _, f := range []uint64{0, 4, 8} {
						p.update(key, value, f)
						p.lookup(key, f)
						p.pop(key, f)
					}
					if d.KeySize != 0 {
						p.nextKey(nil)
					}
					p.delete(key)
					keys, values := append(u32(0), u32(1)...), bytes.Repeat(value, 2)
					p.batch(batchUpdate, maps.Batch{Keys: keys, Values: values, Count: 2})
					p.batch(batchLookup, maps.Batch{Count: 2})
					p.batch(batchLookupDelete, maps.Batch{Count: 2})
					p.batch(batchDelete, maps.Batch{Keys: keys, Count: 2})
					p.freeze()
					p.freeze()
				}
			})
		}
	}
}

// TestOpen: several descriptors of one map see the same values.
func TestOpen(t *testing.T) {
	m, err := maps.New(nil, def(catalog.MapArray, 4, 4, 1, 0))
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	ro, err := maps.Open(m, catalog.FlagRdonly)
	if err != nil {
		t.Fatal(err)
	}
	wo, err := maps.Open(ro, catalog.FlagWronly)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := maps.Open(m, catalog.FlagRdonly|catalog.FlagWronly); err != errno.EINVAL {
		t.Errorf("both ways: %v", err)
	}
	if err := wo.Update(u32(0), u32(5), 0); err != nil {
		t.Error(err)
	}
	if err := ro.Update(u32(0), u32(6), 0); err != errno.EPERM {
		t.Errorf("write through a read-only descriptor: %v", err)
	}
	got := make([]byte, 4)
	if err := ro.Lookup(u32(0), got, 0); err != nil || !bytes.Equal(got, u32(5)) {
		t.Errorf("%x, %v", got, err)
	}
	if maps.Unwrap(ro) != m || maps.Unwrap(wo) != m || maps.Unwrap(m) != m {
		t.Error("the views lead to other maps")
	}
}

// TestConstants: what the verifier may take for constant, and when.
func TestConstants(t *testing.T) {
	m, err := maps.New(nil, def(catalog.MapArray, 4, 6, 1, catalog.FlagRdonlyProg))
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	if err := m.Update(u32(0), []byte("abcdef"), 0); err != nil {
		t.Fatal(err)
	}
	read := m.Def().ReadConst
	buf := make([]byte, 2)
	if read == nil || read(0, buf) {
		t.Fatal("a map that can still be written is constant")
	}
	if err := m.Freeze(); err != nil || !m.Frozen() {
		t.Fatal(err)
	}
	if !read(3, buf) || string(buf) != "de" {
		t.Errorf("constant bytes %q", buf)
	}
	if read(5, buf) || read(1<<32-1, buf) {
		t.Error("bytes beyond the end")
	}
	plain, err := maps.New(nil, def(catalog.MapArray, 4, 6, 1, 0))
	if err != nil {
		t.Fatal(err)
	}
	defer plain.Close()
	if plain.Freeze(); plain.Def().ReadConst != nil {
		t.Error("programs can write it, yet it is constant")
	}
}

// TestRegistry: ids grow, are not given twice, and lead back to the maps, as
// headers do; the last Close ends that.
func TestRegistry(t *testing.T) {
	var r maps.Registry
	cfg := &maps.Config{CPUs: 1, Epoch: mem.NewEpoch(1)}
	var all []maps.Map
	add := func(access uint32) maps.Map {
		t.Helper()
		m, err := maps.New(cfg, def(catalog.MapArray, 4, 4, 1, access))
		if err != nil {
			t.Fatal(err)
		}
		if err := r.Add(m); err != nil {
			t.Fatal(err)
		}
		return maps.Unwrap(m)
	}
	for i := range 40 {
		all = append(all, add(catalog.FlagRdonly*uint32(i%2)))
	}
	for i, m := range all {
		got := r.Get(uint32(i + 1))
		if int(m.Def().ID) != i+1 || got != m || r.ByPtr(m.Def().Ptr) != m {
			t.Fatalf("map %d has id %d", i, m.Def().ID)
		}
		got.Close()
	}
	all[3].Acquire()
	all[3].Close()
	if got := r.Get(4); got != all[3] {
		t.Fatal("a map with a reference left is gone")
	} else {
		got.Close()
	}
	cfg.Epoch.Enter(0)
	ptr := all[3].Def().Ptr
	all[3].Close()
	if r.Get(4) != nil {
		t.Error("a closed map is found by its id")
	}
	if r.ByPtr(ptr) != all[3] {
		t.Error("a run that knows the map cannot use it to its end")
	}
	cfg.Epoch.Leave(0)
	cfg.Epoch.Wait()
	if next, ok := r.NextID(3); !ok || next != 5 {
		t.Errorf("after id 3 comes %d", next)
	}
	if _, ok := r.NextID(40); ok {
		t.Error("something comes after the last")
	}
	left := r.All()
	if len(left) != 39 {
		t.Errorf("%d maps", len(left))
	}
	if m := add(0); m.Def().ID != 41 || r.ByPtr(m.Def().Ptr) != m {
		t.Errorf("the next one has id %d", m.Def().ID)
	}
	for _, m := range left {
		m.Close()
		m.Close()
	}
	if n := len(r.All()); n != 1 {
		t.Errorf("%d maps left", n)
	}
}

// TestRows: every map type has an implementation or says that it has none, and
// none is bound that catalog does not know.
func TestRows(t *testing.T) {
	unsupported := map[string]bool{}
	for _, row := range catalog.MapKinds() {
		if !maps.Supported(row.Type) {
			unsupported[row.Name] = true
			_, err := maps.New(nil, catalog.MapDef{Type: row.Type, KeySize: 4, ValueSize: 4, MaxEntries: 1})
			if err == nil || !bytes.Contains([]byte(err.Error()), []byte(row.Name)) {
				t.Errorf("%s: %v", row.Name, err)
			}
			continue
		}
		d := catalog.MapDef{Type: row.Type, KeySize: max(row.KeySize.Min, row.KeySize.Multiple), ValueSize: row.ValueSize.Min,
			MaxEntries: row.MaxEntries.Min, Flags: row.MustFlags}
		if row.Type == catalog.MapArrayOfMaps || row.Type == catalog.MapHashOfMaps {
			d.Inner = &catalog.MapDef{Type: catalog.MapArray, KeySize: 4, ValueSize: 4, MaxEntries: 1}
		}
		if row.Traits&catalog.NeedsBTF != 0 {
			d.Key, d.Value = &btf.Int{Name: "int", Size: d.KeySize}, &btf.Int{Name: "char", Size: d.ValueSize}
		}
		if row.Type == catalog.MapStructOps {
			s := &btf.Struct{Name: "bpf_dummy_ops", Size: d.ValueSize}
			d.Ops = &catalog.OpsDef{Row: catalog.StructOpsByName(s.Name), Value: s, Struct: s}
		}
		m, err := maps.New(nil, d)
		if err != nil {
			t.Errorf("%s: the smallest the row allows: %v", row.Name, err)
			continue
		}
		if m.Def().Ptr == 0 {
			t.Errorf("%s: no header", row.Name)
		}
		if _, ok := m.(maps.PerCPUMap); ok != (row.Traits&catalog.PerCPU != 0) {
			t.Errorf("%s: per CPU %v, not so the row", row.Name, ok)
		}
		if _, ok := m.(maps.IterMap); !ok && row.Traits&catalog.ForEach != 0 {
			t.Errorf("%s: programs cannot walk it", row.Name)
		}
		if (m.Def().ValueBase != 0) != (row.Traits&catalog.DirectValue != 0) {
			t.Errorf("%s: direct values at %#x", row.Name, m.Def().ValueBase)
		}
		m.Close()
	}
	for typ := range catalog.MapArena + 10 {
		if maps.Supported(typ) && catalog.MapKindByType(typ) == nil {
			t.Errorf("type %d is bound and has no row", typ)
		}
	}
	t.Logf("without implementation: %v", unsupported)
}
