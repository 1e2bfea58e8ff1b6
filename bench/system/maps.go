package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/cilium/ebpf"

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
	for _, typ := range []ebpf.MapType{ebpf.Array, ebpf.Hash} {
		spec := &ebpf.MapSpec{Type: typ, KeySize: 4, ValueSize: 8, MaxEntries: elements}
		theirs, err := ebpf.NewMap(spec)
		if err != nil {
			closeAll()
			return nil, nil, fmt.Errorf("nothing to compare with: %w", err)
		}
		all = append(all, theirs)
		img, err := skep.FromCollectionSpec(&ebpf.CollectionSpec{Maps: map[string]*ebpf.MapSpec{"m": spec, "shared": spec}}, nil)
		if err != nil {
			closeAll()
			return nil, nil, err
		}
		coll, err := m.LoadCollection(img)
		if err != nil {
			closeAll()
			return nil, nil, err
		}
		ours := coll.Maps["m"]
		keys, values := make([]uint32, elements), make([]uint64, elements)
		for i := range keys {
			keys[i], values[i] = uint32(i), uint64(i)
			if err := ours.Put(keys[i], values[i]); err != nil {
				return nil, nil, err
			}
			if err := theirs.Put(keys[i], values[i]); err != nil {
				return nil, nil, err
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
			shared := coll.Maps["shared"]
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
	return rows, closeAll, nil
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
