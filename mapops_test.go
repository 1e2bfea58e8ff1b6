package skep_test

import (
	"testing"

	"github.com/cilium/ebpf"

	"github.com/skep-bpf/skep"
)

// Operations on elements allocate nothing, whatever the Go values of keys and values are.
func TestMapOperationsAllocateNothing(t *testing.T) {
	m, err := skep.NewMachine(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	for _, typ := range []ebpf.MapType{ebpf.Array, ebpf.Hash} {
		img, err := skep.FromCollectionSpec(&ebpf.CollectionSpec{Maps: map[string]*ebpf.MapSpec{"m": {Type: typ, KeySize: 4, ValueSize: 8, MaxEntries: 16}}}, nil)
		if err != nil {
			t.Fatal(err)
		}
		coll, err := m.LoadCollection(img)
		if err != nil {
			t.Fatal(err)
		}
		mp := coll.Maps["m"]
		key, value := uint32(3), uint64(7)
		var got uint64
		type pair struct{ A, B uint32 }
		keys, values := []uint32{1, 2, 3}, []uint64{1, 2, 3}
		var threeIs, room, boxedKey, boxedValue, boxedBytes any = &[4]byte{3}, new(pair), uint32(1 << 20 % 16), pair{7, 0}, []byte{3, 0, 0, 0}
		var keysAny, valuesAny any = keys, values
		for _, op := range []struct {
			name string
			do   func() error
		}{
			{"update", func() error { return mp.Put(&key, &value) }},
			{"update by value", func() error { return mp.Put(key, &value) }}, // so small a key fits in an interface
			{"lookup", func() error { return mp.Lookup(&key, &got) }},
			{"lookup of a struct", func() error { return mp.Lookup(threeIs, room) }},
			{"update with a struct", func() error { return mp.Put(boxedBytes, room) }},
			{"update with numbers and structs", func() error { return mp.Put(boxedKey, boxedValue) }}, // what boxing takes is the caller's
			{"batch update", func() error { _, err := mp.BatchUpdate(keysAny, valuesAny, nil); return err }},
		} {
			if err := op.do(); err != nil {
				t.Fatalf("%v: %s: %v", typ, op.name, err)
			}
			if n := testing.AllocsPerRun(100, func() { op.do() }); n > 0 {
				t.Errorf("%v: %s allocates %v times", typ, op.name, n)
			}
		}
		if err := mp.Put(&key, &value); err != nil {
			t.Fatal(err)
		}
		if err := mp.Lookup(&key, &got); err != nil {
			t.Fatal(err)
		}
		if got != value {
			t.Errorf("%v: %d, want %d", typ, got, value)
		}
		if err := mp.Lookup(new(uint64), &got); err == nil {
			t.Errorf("%v: a key of another size", typ)
		}
		if err := mp.Lookup((*uint32)(nil), &got); err == nil {
			t.Errorf("%v: no key", typ)
		}
		coll.Close()
	}
}
