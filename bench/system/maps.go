package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/skep-bpf/skep"
	"github.com/skep-bpf/skep/bench/measure"
)

// elements are in each map that is measured.
const elements = 1024

// table is what both sides' maps can do.
type table interface {
	Lookup(key, value any) error
	Put(key, value any) error
}

// mapRows compares operations on maps through the two Go APIs, which are called alike.
func mapRows() ([]row, func(), error) {
	var all []io.Closer
	closeAll := func() {
		for _, c := range all {
			c.Close()
		}
	}
	m, err := skep.NewMachine(nil)
	if err != nil {
		return nil, nil, err
	}
	all = append(all, m)
	var rows []row
	fail := func(err error) ([]row, func(), error) {
		closeAll()
		return nil, nil, err
	}
	// both makes a map on both sides, and one more here.
	both := func(spec *ebpf.MapSpec) (ours, another *skep.Map, theirs *ebpf.Map, err error) {
		if theirs, err = ebpf.NewMap(spec); err != nil {
			return nil, nil, nil, fmt.Errorf("nothing to compare with: %w", err)
		}
		all = append(all, theirs)
		img, err := skep.FromCollectionSpec(&ebpf.CollectionSpec{Maps: map[string]*ebpf.MapSpec{"m": spec, "another": spec}}, nil)
		if err != nil {
			return nil, nil, nil, err
		}
		coll, err := m.LoadCollection(img)
		if err != nil {
			return nil, nil, nil, err
		}
		return coll.Maps["m"], coll.Maps["another"], theirs, nil
	}
	for _, typ := range []ebpf.MapType{ebpf.Array, ebpf.Hash} {
		ours, shared, theirs, err := both(&ebpf.MapSpec{Type: typ, KeySize: 4, ValueSize: 8, MaxEntries: elements})
		if err != nil {
			return fail(err)
		}
		keys, values := make([]uint32, elements), make([]uint64, elements)
		for i := range keys {
			keys[i], values[i] = uint32(i), uint64(i)
			if err := errors.Join(ours.Put(keys[i], values[i]), theirs.Put(keys[i], values[i])); err != nil {
				return fail(err)
			}
		}
		name := typ.String()
		for _, op := range []struct {
			name string
			do   func(table) func(i uint32) error
		}{
			{"lookup", lookups}, {"lookup, key by value", lookupsByValue}, {"lookup, structs", structLookups},
			{"update", updates}, {"update, by value", updatesByValue}, {"update, structs", structUpdates}, {"update, bytes", byteUpdates},
		} {
			rows = append(rows, row{name: name + ", " + op.name, ours: repeated(op.do(ours)), theirs: repeated(op.do(theirs)), each: 1})
		}
		if typ == ebpf.Hash { // a map that programs may know keeps what they may have found
			shared.Clone().Close()
			rows = append(rows, row{name: "Hash of a program, update", ours: repeated(updates(shared)), theirs: repeated(updates(theirs)), each: 1})
		}
		outKeys, outValues := make([]uint32, elements), make([]uint64, elements)
		rows = append(rows,
			row{name: name + ", batch update of 1024, each", each: elements,
				ours:   repeated(func(uint32) error { _, err := ours.BatchUpdate(keys, values, nil); return err }),
				theirs: repeated(func(uint32) error { _, err := theirs.BatchUpdate(keys, values, nil); return err })},
			row{name: name + ", batch lookup of 1024, each", each: elements,
				ours: repeated(func(uint32) error {
					var c skep.MapBatchCursor
					_, err := ours.BatchLookup(&c, outKeys, outValues, nil)
					return ended(err)
				}),
				theirs: repeated(func(uint32) error {
					var c ebpf.MapBatchCursor
					_, err := theirs.BatchLookup(&c, outKeys, outValues, nil)
					return ended(err)
				})})
	}
	for _, typ := range []ebpf.MapType{ebpf.PerCPUArray, ebpf.PerCPUHash, ebpf.LRUHash} {
		ours, _, theirs, err := both(&ebpf.MapSpec{Type: typ, KeySize: 4, ValueSize: 8, MaxEntries: elements})
		if err != nil {
			return fail(err)
		}
		lookup, update := lookups, updates
		if typ != ebpf.LRUHash {
			lookup, update = perCPULookups(m.CPUs()), perCPUUpdates(m.CPUs())
		}
		put := func(t table) error { // the newest half of what an LRU map may hold stays
			f := update(t)
			for i := range uint32(elements) {
				if err := f(i); err != nil {
					return err
				}
			}
			return nil
		}
		if err := errors.Join(put(ours), put(theirs)); err != nil {
			return fail(err)
		}
		if typ == ebpf.LRUHash {
			lookup = recentLookups
		}
		rows = append(rows,
			row{name: typ.String() + ", lookup", ours: repeated(lookup(ours)), theirs: repeated(lookup(theirs)), each: 1},
			row{name: typ.String() + ", update", ours: repeated(update(ours)), theirs: repeated(update(theirs)), each: 1})
	}
	ours, _, theirs, err := both(&ebpf.MapSpec{Type: ebpf.LPMTrie, KeySize: 8, ValueSize: 8, MaxEntries: elements, Flags: unix.BPF_F_NO_PREALLOC})
	if err != nil {
		return fail(err)
	}
	for i := range uint32(elements) {
		if err := errors.Join(routeUpdates(ours)(i), routeUpdates(theirs)(i)); err != nil {
			return fail(err)
		}
	}
	rows = append(rows,
		row{name: "LPMTrie, lookup", ours: repeated(routeLookups(ours)), theirs: repeated(routeLookups(theirs)), each: 1},
		row{name: "LPMTrie, update", ours: repeated(routeUpdates(ours)), theirs: repeated(routeUpdates(theirs)), each: 1})
	return rows, closeAll, nil
}

// Values of all CPUs are slices with an element for each.

func perCPULookups(cpus int) func(table) func(uint32) error {
	return func(m table) func(uint32) error {
		var k uint32
		v := make([]uint64, cpus)
		return func(i uint32) error {
			k = i % elements
			return m.Lookup(&k, &v)
		}
	}
}

func perCPUUpdates(cpus int) func(table) func(uint32) error {
	return func(m table) func(uint32) error {
		var k uint32
		v := make([]uint64, cpus)
		return func(i uint32) error {
			k = i % elements
			return m.Put(&k, v)
		}
	}
}

// recentLookups are of a key that an LRU map has just got.
func recentLookups(m table) func(uint32) error {
	var k uint32
	var v uint64
	err := m.Put(&k, &v)
	return func(uint32) error {
		if err != nil {
			return err
		}
		return m.Lookup(&k, &v)
	}
}

// route is the key of a trie of prefixes.
type route struct {
	Bits uint32
	Addr [4]byte
}

func (r *route) set(i uint32) { *r = route{32, [4]byte{10, byte(i % elements >> 8), byte(i), 1}} }

func routeLookups(m table) func(uint32) error {
	var k route
	var v uint64
	return func(i uint32) error {
		k.set(i)
		return m.Lookup(&k, &v)
	}
}

func routeUpdates(m table) func(uint32) error {
	var k route
	var v uint64
	return func(i uint32) error {
		k.set(i)
		return m.Put(&k, &v)
	}
}

func lookups(m table) func(uint32) error {
	var k uint32
	var v uint64
	return func(i uint32) error {
		k = i % elements
		return m.Lookup(&k, &v)
	}
}

func updates(m table) func(uint32) error {
	var k uint32
	var v uint64
	return func(i uint32) error {
		k = i % elements
		return m.Put(&k, &v)
	}
}

// The other forms of keys and values: numbers, which the caller boxes, structs, byte slices.

func lookupsByValue(m table) func(uint32) error {
	var v uint64
	return func(i uint32) error { return m.Lookup(i%elements, &v) }
}

func updatesByValue(m table) func(uint32) error {
	return func(i uint32) error { return m.Put(i%elements, uint64(i)) }
}

type (
	structKey   struct{ Port, Proto uint16 }
	structValue struct{ Packets, Bytes uint32 }
)

func structLookups(m table) func(uint32) error {
	var k structKey
	var v structValue
	return func(i uint32) error {
		k.Port = uint16(i % elements)
		return m.Lookup(&k, &v)
	}
}

func structUpdates(m table) func(uint32) error {
	var k structKey
	var v structValue
	return func(i uint32) error {
		k.Port = uint16(i % elements)
		return m.Put(&k, &v)
	}
}

func byteUpdates(m table) func(uint32) error {
	k, v := make([]byte, 4), make([]byte, 8)
	return func(i uint32) error {
		binary.NativeEndian.PutUint32(k, i%elements)
		return m.Put(k, v)
	}
}

// ended takes the end of the map for success.
func ended(err error) error {
	if errors.Is(err, ebpf.ErrKeyNotExist) || errors.Is(err, skep.ErrKeyNotExist) {
		return nil
	}
	return err
}

// repeated makes a contender of an operation, in processor time of its thread.
func repeated(f func(i uint32) error) measure.Contender {
	return func(n int) (time.Duration, error) {
		return measure.Thread(func() error {
			for i := range n {
				if err := f(uint32(i)); err != nil {
					return err
				}
			}
			return nil
		})
	}
}
