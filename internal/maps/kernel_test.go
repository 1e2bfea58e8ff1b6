package maps_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/linux"
	"github.com/skep-bpf/skep/internal/maps"
	"github.com/skep-bpf/skep/internal/oracle"
)

// pair is one map of ours and one of the live kernel, made alike. Every
// operation is done on both; errno and bytes must agree.
type pair struct {
	testing.TB
	ours maps.Map
	kern *linux.Map
	vlen int
}

// config is a machine with as many CPUs as the kernel has.
func config(t testing.TB) *maps.Config {
	oracle.Need(t, "bpf(2)", linux.Available())
	cpus, err := linux.PossibleCPUs()
	if err != nil {
		t.Fatal(err)
	}
	return &maps.Config{CPUs: cpus}
}

func newPair(t testing.TB, def catalog.MapDef) *pair {
	t.Helper()
	cfg := config(t)
	ours, err := maps.New(cfg, def)
	if err != nil {
		t.Fatalf("ours: %v", err)
	}
	t.Cleanup(ours.Close)
	kern, err := linux.NewMap(&def, nil)
	if err != nil {
		t.Fatalf("kernel: %v", err)
	}
	t.Cleanup(func() { kern.Close() })
	return pairOf(t, ours, kern)
}

func pairOf(t testing.TB, ours maps.Map, kern *linux.Map) *pair {
	t.Helper()
	vlen, err := kern.ValueLen()
	if err != nil {
		t.Fatal(err)
	}
	if ours.ValueSize() != vlen {
		t.Fatalf("value size %d, kernel's %d", ours.ValueSize(), vlen)
	}
	return &pair{t, ours, kern, vlen}
}

// number is the errno behind an error, 0 for nil.
func number(t testing.TB, err error) errno.Errno {
	t.Helper()
	var e errno.Errno
	if err == nil {
		return 0
	}
	if !errors.As(err, &e) {
		t.Fatalf("no errno in %v", err)
	}
	return e
}

// same compares the outcomes of one operation and returns the errno.
func (p *pair) same(what string, ours, kern error) errno.Errno {
	p.Helper()
	a, b := number(p, ours), number(p, kern)
	if a != b {
		p.Fatalf("%s: %v, kernel says %v", what, a, b)
	}
	return a
}

func (p *pair) sameBytes(what string, ours, kern []byte) {
	p.Helper()
	if !bytes.Equal(ours, kern) {
		p.Fatalf("%s:\nours   %x\nkernel %x", what, ours, kern)
	}
}

// sameValues compares values. Between the values of a per-CPU hash lies padding;
// in the kernel it holds what the element's former key left there.
func (p *pair) sameValues(what string, ours, kern []byte) {
	p.Helper()
	def := p.ours.Def()
	if def.Type == catalog.MapPerCPUHash || def.Type == catalog.MapLRUPerCPUHash {
		slot := int(def.ValueSize+7) &^ 7
		ours, kern = bytes.Clone(ours), bytes.Clone(kern)
		for _, b := range [][]byte{ours, kern} {
			for at := 0; at < len(b); at += slot {
				clear(b[at+int(def.ValueSize) : at+slot])
			}
		}
	}
	p.sameBytes(what, ours, kern)
}

func (p *pair) lookup(key []byte, flags uint64) ([]byte, errno.Errno) {
	p.Helper()
	a, b := make([]byte, p.vlen), make([]byte, p.vlen)
	what := fmt.Sprintf("lookup %x flags %#x", key, flags)
	e := p.same(what, p.ours.Lookup(key, a, flags), p.kern.Lookup(key, b, flags))
	if e == 0 {
		p.sameValues(what, a, b)
	}
	return a, e
}

func (p *pair) pop(key []byte, flags uint64) errno.Errno {
	p.Helper()
	a, b := make([]byte, p.vlen), make([]byte, p.vlen)
	what := fmt.Sprintf("lookup and delete %x flags %#x", key, flags)
	e := p.same(what, p.ours.LookupAndDelete(key, a, flags), p.kern.LookupAndDelete(key, b, flags))
	if e == 0 {
		p.sameValues(what, a, b)
	}
	return e
}

func (p *pair) update(key, value []byte, flags uint64) errno.Errno {
	p.Helper()
	return p.same(fmt.Sprintf("update %x = %x flags %#x", key, value, flags),
		p.ours.Update(key, value, flags), p.kern.Update(key, value, flags))
}

func (p *pair) delete(key []byte) errno.Errno {
	p.Helper()
	return p.same(fmt.Sprintf("delete %x", key), p.ours.Delete(key), p.kern.Delete(key))
}

func (p *pair) freeze() errno.Errno {
	p.Helper()
	return p.same("freeze", p.ours.Freeze(), p.kern.Freeze())
}

func (p *pair) nextKey(key []byte) ([]byte, errno.Errno) {
	p.Helper()
	n := p.ours.Def().KeySize
	a, b := make([]byte, n), make([]byte, n)
	e := p.same(fmt.Sprintf("next key after %x", key), p.ours.NextKey(key, a), p.kern.NextKey(key, b))
	if e == 0 {
		p.sameBytes(fmt.Sprintf("next key after %x", key), a, b)
	}
	return a, e
}

// walk compares the whole order of keys and returns how many there are.
func (p *pair) walk() int {
	p.Helper()
	key, e := p.nextKey(nil)
	n := 0
	for ; e == 0; n++ {
		p.lookup(key, 0)
		key, e = p.nextKey(key)
	}
	return n
}

// batchOp names one of the batch commands.
type batchOp int

const (
	batchLookup batchOp = iota
	batchLookupDelete
	batchUpdate
	batchDelete
)

// batch does a batch on both sides; the buffers are those of the result.
func (p *pair) batch(op batchOp, b maps.Batch) (maps.Batch, int, errno.Errno) {
	p.Helper()
	ks := int(p.ours.Def().KeySize)
	ob := b
	kb := linux.Batch{In: b.In, Keys: b.Keys, Values: b.Values, Count: b.Count, ElemFlags: b.ElemFlags, Flags: b.Flags}
	if op == batchLookup || op == batchLookupDelete {
		size := int(b.Count)
		ob.Keys, kb.Keys = make([]byte, size*ks), make([]byte, size*ks)
		ob.Values, kb.Values = make([]byte, size*p.vlen), make([]byte, size*p.vlen)
		ob.Out, kb.Out = make([]byte, max(ks, 4)), make([]byte, max(ks, 4))
	}
	var n int
	var ours, kern error
	switch op {
	case batchLookup:
		n, ours = p.ours.LookupBatch(ob)
		kern = p.kern.BatchLookup(&kb)
	case batchLookupDelete:
		n, ours = p.ours.LookupAndDeleteBatch(ob)
		kern = p.kern.BatchLookupAndDelete(&kb)
	case batchUpdate:
		n, ours = p.ours.UpdateBatch(ob)
		kern = p.kern.BatchUpdate(&kb)
	case batchDelete:
		n, ours = p.ours.DeleteBatch(ob)
		kern = p.kern.BatchDelete(&kb)
	}
	what := fmt.Sprintf("batch %d of %d from %x", op, b.Count, b.In)
	e := p.same(what, ours, kern)
	if e != 0 && e != errno.ENOENT && e != errno.ENOSPC && uint32(n) != kb.Count && kb.Count == b.Count {
		return ob, n, e // refused before the kernel touched the count
	}
	if uint32(n) != kb.Count {
		p.Fatalf("%s: %d elements, kernel's %d", what, n, kb.Count)
	}
	if op == batchLookup || op == batchLookupDelete {
		p.sameBytes(what+": keys", ob.Keys[:n*ks], kb.Keys[:n*ks])
		p.sameValues(what+": values", ob.Values[:n*p.vlen], kb.Values[:n*p.vlen])
		p.sameBytes(what+": position", ob.Out, kb.Out)
	}
	return ob, n, e
}

func u32(n uint32) []byte { return binary.NativeEndian.AppendUint32(nil, n) }

// def is a short way to write a MapDef.
func def(t catalog.MapType, key, value, entries, flags uint32) catalog.MapDef {
	return catalog.MapDef{Type: t, KeySize: key, ValueSize: value, MaxEntries: entries, Flags: flags}
}

// TestCreate compares which sizes, flags and counts the kernel takes, and what
// it says to the others, for every type there is.
func TestCreate(t *testing.T) {
	cfg := config(t)
	try := func(t *testing.T, d catalog.MapDef) {
		t.Helper()
		if d.Type == catalog.MapCPUMap && d.MaxEntries > 256 && d.MaxEntries <= 8192 {
			return // how many CPUs a kernel can have is a build option
		}
		ours, err := maps.New(cfg, d)
		var unsupported *maps.UnsupportedError
		if errors.As(err, &unsupported) {
			return
		}
		if err == nil {
			ours.Close()
		}
		kern, kerr := linux.NewMap(&d, nil)
		if kerr == nil {
			kern.Close()
		}
		if a, b := number(t, err), number(t, kerr); a != b {
			t.Errorf("type %d key %d value %d entries %d flags %#x extra %#x: %v, kernel says %v",
				d.Type, d.KeySize, d.ValueSize, d.MaxEntries, d.Flags, d.Extra, a, b)
		}
	}
	keys := []uint32{0, 1, 3, 4, 5, 8, 16, 260, 261, 300, 4<<20 - 48 - 8}
	values := []uint32{0, 1, 4, 7, 8, 12, 32, 127 * 8, 128 * 8, 127 * 32, 32<<10 - 8, 32 << 10, 32<<10 + 1, 4 << 20, 1<<31 - 1, 1 << 31}
	entries := []uint32{0, 1, 2, 5}
	for typ := range catalog.MapArena + 3 {
		if typ == catalog.MapArrayOfMaps || typ == catalog.MapHashOfMaps {
			continue // need an inner map: TestCreateOuter
		}
		t.Run(fmt.Sprint(typ), func(t *testing.T) {
			flags := []uint32{0, catalog.FlagRdonlyProg | catalog.FlagWronlyProg, catalog.FlagRdonly | catalog.FlagWronly,
				catalog.FlagNoPrealloc | catalog.FlagZeroSeed, catalog.FlagNoPrealloc | catalog.FlagRdonlyProg}
			for bit := range 32 {
				if f := uint32(1) << bit; f != catalog.FlagTokenFD && f != catalog.FlagVtypeBTFObjFD {
					flags = append(flags, f)
				}
			}
			for _, k := range keys {
				for _, v := range values {
					if uint64(k)+uint64(v) > 8<<10 { // large: only one element
						try(t, def(typ, k, v, 1, 0))
						try(t, def(typ, k, v, 1, catalog.FlagNoPrealloc))
						continue
					}
					for _, n := range entries {
						try(t, def(typ, k, v, n, 0))
						try(t, def(typ, k, v, n, catalog.FlagNoPrealloc))
					}
				}
			}
			for _, size := range [][2]uint32{{4, 4}, {8, 8}, {0, 4}, {0, 0}, {4, 8}, {4, 32}} {
				for _, n := range []uint32{3, 100, 2048, 4096, 5000, 8192} {
					try(t, def(typ, size[0], size[1], n, 0))
				}
				for _, f := range flags {
					try(t, def(typ, size[0], size[1], 4+4092*ring(typ), f))
					try(t, def(typ, size[0], size[1], 4+4092*ring(typ), f|catalog.FlagNoPrealloc))
				}
				for _, extra := range []uint64{1, 15, 16, 1 << 32} {
					d := def(typ, size[0], size[1], 8, 0)
					d.Extra = extra
					try(t, d)
				}
				for _, n := range []uint32{1<<31 + 1, 1<<32 - 1, 1 << 28} {
					d := def(typ, size[0], size[1], n, 0)
					if refusesCount(d) {
						try(t, d)
					}
				}
			}
		})
	}
}

// ring is 1 for the types whose max_entries is a size in bytes.
func ring(t catalog.MapType) uint32 {
	if t == catalog.MapRingBuf || t == catalog.MapUserRingBuf {
		return 1
	}
	return 0
}

// refusesCount reports whether a large max_entries is refused for itself; else
// the kernel would go and get the memory.
func refusesCount(d catalog.MapDef) bool {
	switch d.Type {
	case catalog.MapHash, catalog.MapLRUHash, catalog.MapPerCPUHash, catalog.MapLRUPerCPUHash, catalog.MapStackTrace:
		return d.MaxEntries > 1<<31
	case catalog.MapCPUMap, catalog.MapRingBuf:
		return true
	}
	return false
}

func TestArrayAgainstKernel(t *testing.T) {
	for _, typ := range []catalog.MapType{catalog.MapArray, catalog.MapPerCPUArray} {
		for _, size := range []uint32{1, 3, 4, 8, 12, 40} {
			t.Run(fmt.Sprintf("%d/%d", typ, size), func(t *testing.T) {
				p := newPair(t, def(typ, 4, size, 5, 0))
				p.walk()
				value := func(seed byte) []byte {
					return bytes.Repeat([]byte{seed, seed + 1, seed + 2}, p.vlen)[:p.vlen]
				}
				for i := range uint32(7) {
					for _, f := range []uint64{0, 1, 2, 3, 4, 5, 6, 7, 8, 1 << 33} {
						p.update(u32(i), value(byte(16*i)+byte(f)), f)
						p.lookup(u32(i), 0)
						p.lookup(u32(i), f)
						p.pop(u32(i), f)
					}
					p.delete(u32(i))
					p.nextKey(u32(i))
				}
				p.nextKey(u32(1 << 31))
				p.nextKey(u32(1<<32 - 1))
				if n := p.walk(); n != 5 {
					t.Errorf("%d keys", n)
				}
				// Batches: in pieces, with a rest, past the end.
				var in []byte
				for _, n := range []uint32{0, 2, 2, 2, 9} {
					b, _, _ := p.batch(batchLookup, maps.Batch{In: in, Count: n})
					in = b.Out
				}
				p.batch(batchLookup, maps.Batch{Count: 2, ElemFlags: 4})
				p.batch(batchLookup, maps.Batch{Count: 2, ElemFlags: 1})
				p.batch(batchLookupDelete, maps.Batch{Count: 2})
				three := append(append(u32(4), u32(1)...), u32(9)...)
				p.batch(batchUpdate, maps.Batch{Keys: three, Values: bytes.Repeat(value(7), 3), Count: 3})
				p.batch(batchUpdate, maps.Batch{Keys: three, Values: bytes.Repeat(value(7), 3), Count: 2, ElemFlags: 1})
				p.batch(batchDelete, maps.Batch{Keys: three, Count: 1})
				p.walk()
				if p.freeze() != 0 {
					t.Error("cannot freeze")
				}
				p.freeze()
				p.update(u32(0), value(1), 0)
				p.delete(u32(0))
				p.pop(u32(0), 0)
				p.batch(batchUpdate, maps.Batch{Keys: three, Values: bytes.Repeat(value(7), 3), Count: 1})
				p.batch(batchLookup, maps.Batch{Count: 2})
				p.walk()
			})
		}
	}
}

// TestHashAgainstKernel does random operations on tables with the kernel's
// hash, so that even the order of keys must agree.
func TestHashAgainstKernel(t *testing.T) {
	for _, typ := range []catalog.MapType{catalog.MapHash, catalog.MapPerCPUHash} {
		for _, prealloc := range []uint32{0, catalog.FlagNoPrealloc} {
			for _, size := range [][2]uint32{{1, 1}, {2, 3}, {4, 4}, {5, 8}, {8, 12}, {12, 7}, {13, 16}, {16, 9}, {31, 64}} {
				t.Run(fmt.Sprintf("%d/%#x/%d", typ, prealloc, size), func(t *testing.T) {
					p := newPair(t, def(typ, size[0], size[1], 13, prealloc|catalog.FlagZeroSeed))
					randomHashOps(p, rand.New(rand.NewPCG(uint64(size[0]), uint64(size[1]))), 600, 20)
				})
			}
		}
	}
}

// randomHashOps does n random operations over a number of keys.
func randomHashOps(p *pair, r *rand.Rand, n int, keys uint32) {
	p.Helper()
	ks := int(p.ours.Def().KeySize)
	key := func() []byte {
		k := make([]byte, max(ks, 4))
		binary.NativeEndian.PutUint32(k, r.Uint32N(keys))
		k = k[:ks]
		if ks > 4 {
			k[ks-1] = byte(ks)
		}
		return k
	}
	value := func() []byte {
		v := make([]byte, p.vlen)
		for i := range v {
			v[i] = byte(r.Uint32())
		}
		return v
	}
	flags := []uint64{0, 0, 0, 0, 1, 1, 2, 2, 3, 4, 5, 6, 8, 1 << 40}
	var in []byte
	for range n {
		switch r.IntN(12) {
		case 0, 1, 2, 3:
			p.update(key(), value(), flags[r.IntN(len(flags))])
		case 4:
			p.lookup(key(), 0)
		case 5:
			p.lookup(key(), flags[r.IntN(len(flags))])
		case 6:
			p.delete(key())
		case 7:
			p.pop(key(), flags[r.IntN(len(flags))])
		case 8:
			p.nextKey(key())
		case 9:
			p.walk()
		case 10:
			b, _, e := p.batch(batchLookup, maps.Batch{In: in, Count: r.Uint32N(9), ElemFlags: flags[r.IntN(len(flags))]})
			if in = nil; e == 0 && r.IntN(4) != 0 {
				in = b.Out
			}
		case 11:
			count := 1 + r.Uint32N(4)
			b := maps.Batch{Count: count}
			for range count {
				b.Keys, b.Values = append(b.Keys, key()...), append(b.Values, value()...)
			}
			switch r.IntN(6) {
			case 0, 1, 2:
				p.batch(batchUpdate, b)
			case 3:
				p.batch(batchDelete, b)
			case 4:
				b.ElemFlags = flags[r.IntN(len(flags))]
				p.batch(batchUpdate, b)
			case 5:
				p.batch(batchLookupDelete, maps.Batch{Count: count})
			}
		}
	}
}
