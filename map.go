package skep

import (
	"errors"
	"fmt"
	"iter"
	"sync/atomic"

	"github.com/cilium/ebpf/btf"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/maps"
	"github.com/skep-bpf/skep/internal/marshal"
	"github.com/skep-bpf/skep/internal/run"
	"github.com/skep-bpf/skep/internal/unwrap"
	"github.com/skep-bpf/skep/internal/verifier"
)

// MapType is the kind of a map, with the kernel's numbers and bpftool's names.
type MapType = catalog.MapType

// MapUpdateFlags are the flags of [Map.Update].
type MapUpdateFlags uint64

// Flags of [Map.Update].
const (
	UpdateAny     MapUpdateFlags = MapUpdateFlags(catalog.UpdateAny)     // create or replace
	UpdateNoExist MapUpdateFlags = MapUpdateFlags(catalog.UpdateNoExist) // create only
	UpdateExist   MapUpdateFlags = MapUpdateFlags(catalog.UpdateExist)   // replace only
	UpdateLock    MapUpdateFlags = MapUpdateFlags(catalog.UpdateLock)    // under the value's bpf_spin_lock
)

// MapLookupFlags are the flags of [Map.LookupWithFlags].
type MapLookupFlags uint64

// LookupLock reads the value under its bpf_spin_lock.
const LookupLock MapLookupFlags = MapLookupFlags(catalog.UpdateLock)

// Map is a BPF map. Keys and values are Go values, turned into bytes as
// cilium/ebpf does: []byte and string as they are, fixed-size values in the
// machine's byte order, anything with MarshalBinary by that. Values of per-CPU
// maps are slices with one element per possible CPU. Safe for concurrent use,
// with running programs too.
type Map struct {
	m    maps.Map // this handle's reference
	mach *Machine
	done atomic.Bool // closed

	// Of a struct_ops map: what one is set to that is registered by that, and why another could not be set.
	initial []byte
	unset   error

	keys, values marshal.View // Go values whose memory is taken as it is
}

func newMap(mp maps.Map, mach *Machine) *Map {
	def := mp.Def()
	m := &Map{m: mp, mach: mach, keys: marshal.View{Size: int(def.KeySize)}, values: marshal.View{Size: mp.ValueSize()}}
	if def.PerCPU() {
		m.values.CPUs, m.values.Each = m.CPUs(), int(def.ValueSize)
	}
	return m
}

// view returns the memory of a key and a value. It is what makes operations
// fast: nothing is copied or allocated. ok is false for what has to be
// turned, and for a handle that was closed. Values that are to be set want room.
func (m *Map) view(key, value any) (k, v []byte, ok bool) {
	if m.done.Load() {
		return nil, nil, false
	}
	k, ok = m.keys.Bytes(key)
	if ok {
		v, ok = m.values.Bytes(value)
	}
	return k, v, ok
}

func (m *Map) viewRoom(key, value any) (k, v []byte, ok bool) {
	if m.done.Load() {
		return nil, nil, false
	}
	k, ok = m.keys.Bytes(key)
	if ok {
		v, ok = m.values.Room(value)
	}
	return k, v, ok
}

// open returns an error for a handle that was closed.
func (m *Map) open() error {
	if m.done.Load() {
		return ErrClosed
	}
	return nil
}

func init() {
	unwrap.Map = func(m any) (maps.Map, error) {
		handle := m.(*Map)
		if err := handle.open(); err != nil {
			return nil, handle.wrap("open", err)
		}
		mp := maps.Unwrap(handle.m)
		mp.Acquire()
		return mp, nil
	}
	unwrap.Machine = func(m *run.Machine, checked bool) any {
		return &Machine{m: m, opts: MachineOptions{Checked: checked}}
	}
	unwrap.Program = func(m any, p *run.Program) any {
		return &Program{p: p, mach: m.(*Machine), attach: p.Info.Attach, source: p.Rewritten.Source, result: &verifier.Result{}}
	}
	unwrap.Run = func(p any) *run.Program { return p.(*Program).p }
	unwrap.Handle = func(m any, mp maps.Map) any { return newMap(mp, m.(*Machine)) }
	unwrap.XSKs = func(m any) *maps.Sockets { return &m.(*Machine).m.XSKs }
}

// CPUs returns the number of possible CPUs of the map's machine, of all machines that can share a
// per-CPU map that can be shared: the length of per-CPU values.
func (m *Map) CPUs() int {
	if def := m.m.Def(); def.Sharers != 0 {
		return m.m.ValueSize() / def.Stride()
	}
	return m.mach.CPUs()
}

// ID returns the map's number in its Machine.
func (m *Map) ID() uint32 { return m.m.Def().ID }

// Name returns the map's name.
func (m *Map) Name() string { return m.m.Def().Name }

// Type returns the map's kind.
func (m *Map) Type() MapType { return m.m.Def().Type }

// KeySize returns the size of a key in bytes; 0 for queues, stacks, bloom filters and ring buffers.
func (m *Map) KeySize() uint32 { return m.m.Def().KeySize }

// ValueSize returns the size of a value in bytes; of one CPU's value for per-CPU maps.
func (m *Map) ValueSize() uint32 { return m.m.Def().ValueSize }

// MaxEntries returns how many entries the map may hold; the size in bytes of a ring buffer.
func (m *Map) MaxEntries() uint32 { return m.m.Def().MaxEntries }

// Flags returns the map_flags the map was created with.
func (m *Map) Flags() uint32 { return m.m.Def().Flags }

// KeyType returns the BTF type of keys, or nil.
func (m *Map) KeyType() btf.Type { return m.m.Def().Key }

// ValueType returns the BTF type of values, or nil.
func (m *Map) ValueType() btf.Type { return m.m.Def().Value }

// PerCPU reports whether every possible CPU has a value of its own.
func (m *Map) PerCPU() bool { return m.m.Def().PerCPU() }

// String names the map and its kind.
func (m *Map) String() string { return fmt.Sprintf("%s(%s)", m.Type(), m.Name()) }

// Lookup copies the value of key into valueOut, a pointer.
// The error wraps [ErrKeyNotExist] if there is none.
func (m *Map) Lookup(key, valueOut any) error { return m.LookupWithFlags(key, valueOut, 0) }

// LookupWithFlags is [Map.Lookup] with flags.
func (m *Map) LookupWithFlags(key, valueOut any, flags MapLookupFlags) error {
	if k, v, ok := m.viewRoom(key, valueOut); ok {
		return m.wrap("lookup", m.m.Lookup(k, v, uint64(flags)))
	}
	return m.fetch("lookup", m.m.Lookup, key, valueOut, uint64(flags))
}

// LookupAndDelete removes an entry and copies its value into valueOut; it pops
// from queues and stacks, whose key is nil.
func (m *Map) LookupAndDelete(key, valueOut any) error {
	if k, v, ok := m.viewRoom(key, valueOut); ok {
		return m.wrap("lookup and delete", m.m.LookupAndDelete(k, v, 0))
	}
	return m.fetch("lookup and delete", m.m.LookupAndDelete, key, valueOut, 0)
}

func (m *Map) fetch(op string, f func(k, v []byte, flags uint64) error, key, valueOut any, flags uint64) error {
	if err := m.open(); err != nil {
		return m.wrap(op, err)
	}
	room := marshal.NewScratch()
	defer room.Free()
	k, err := m.appendKey(room.Key[:0], key)
	if err != nil {
		return m.wrap(op, err)
	}
	var v []byte
	if n := m.m.ValueSize(); n <= len(room.Value) {
		v = room.Value[:n]
	} else {
		v = make([]byte, n)
	}
	if err := f(k, v, flags); err != nil {
		return m.wrap(op, err)
	}
	return m.wrap(op, m.decodeValue(valueOut, v))
}

// LookupBytes returns the raw value of key, or nil if there is none.
func (m *Map) LookupBytes(key any) ([]byte, error) {
	if err := m.open(); err != nil {
		return nil, m.wrap("lookup", err)
	}
	k, err := m.appendKey(nil, key)
	if err != nil {
		return nil, m.wrap("lookup", err)
	}
	v := make([]byte, m.m.ValueSize())
	if err := m.m.Lookup(k, v, 0); err != nil {
		if errors.Is(err, errno.ENOENT) {
			return nil, nil
		}
		return nil, m.wrap("lookup", err)
	}
	return v, nil
}

// Put is [Map.Update] with [UpdateAny].
func (m *Map) Put(key, value any) error { return m.Update(key, value, UpdateAny) }

// Update sets the value of key. A *Map or *Program is the value of a map of
// maps or a program array, a *Socket that of a map of sockets; the key of queues, stacks and bloom filters is nil.
func (m *Map) Update(key, value any, flags MapUpdateFlags) error {
	if k, v, ok := m.view(key, value); ok {
		return m.wrap("update", m.m.Update(k, v, uint64(flags)))
	}
	if err := m.open(); err != nil {
		return m.wrap("update", err)
	}
	room := marshal.NewScratch()
	defer room.Free()
	k, err := m.appendKey(room.Key[:0], key)
	if err != nil {
		return m.wrap("update", err)
	}
	v, err := m.appendValue(room.Value[:0], value)
	if err != nil {
		return m.wrap("update", err)
	}
	return m.wrap("update", m.m.Update(k, v, uint64(flags)))
}

// Delete removes an entry. The error wraps [ErrKeyNotExist] if there is none.
func (m *Map) Delete(key any) error {
	if err := m.open(); err != nil {
		return m.wrap("delete", err)
	}
	if k, ok := m.keys.Bytes(key); ok {
		return m.wrap("delete", m.m.Delete(k))
	}
	room := marshal.NewScratch()
	defer room.Free()
	k, err := m.appendKey(room.Key[:0], key)
	if err != nil {
		return m.wrap("delete", err)
	}
	return m.wrap("delete", m.m.Delete(k))
}

// NextKey copies the key after key into nextKeyOut; a nil key gives the first.
// The error wraps [ErrKeyNotExist] after the last.
func (m *Map) NextKey(key, nextKeyOut any) error {
	if err := m.open(); err != nil {
		return m.wrap("next key", err)
	}
	var k []byte
	if key != nil {
		var err error
		if k, err = m.appendKey(nil, key); err != nil {
			return m.wrap("next key", err)
		}
	}
	next := make([]byte, m.KeySize())
	if err := m.m.NextKey(k, next); err != nil {
		return m.wrap("next key", err)
	}
	return m.wrap("next key", marshal.Decode(nextKeyOut, next))
}

// Freeze makes the map read-only for user code for good; programs still write it.
func (m *Map) Freeze() error {
	if err := m.open(); err != nil {
		return m.wrap("freeze", err)
	}
	return m.wrap("freeze", m.m.Freeze())
}

// Clone returns a second handle on the same map, to be closed on its own. That
// of a closed handle is closed.
func (m *Map) Clone() *Map {
	if m.done.Load() {
		c := newMap(m.m, m.mach)
		c.done.Store(true)
		return c
	}
	m.mach.m.ShareMap(m.m)
	return newMap(m.m, m.mach)
}

// Close gives this handle up. The memory goes when the last handle is closed
// and no loaded program uses the map.
func (m *Map) Close() error {
	if m == nil || m.done.Swap(true) {
		return nil
	}
	m.mach.m.CloseMap(m.m)
	return nil
}

// Iterate walks the map in the order of the kernel's get_next_key.
func (m *Map) Iterate() *MapIterator { return &MapIterator{m: m} }

// Entries yields raw keys and values, both reused from one step to the next. An
// error ends the walk and comes last, with a zero Entry.
func (m *Map) Entries() iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		it := m.Iterate()
		var e Entry
		for it.Next(&e.Key, &e.Value) {
			if !yield(e, nil) {
				return
			}
		}
		if err := it.Err(); err != nil {
			yield(Entry{}, err)
		}
	}
}

// Entry is one raw key and value of a map; Value is all CPUs' values for per-CPU maps.
type Entry struct{ Key, Value []byte }

// MapIterator walks a map. Entries that are deleted or added meanwhile may be
// missed or seen; a walk that has to start over too often ends with [ErrIterationAborted].
type MapIterator struct {
	m         *Map
	cur, next []byte
	started   bool
	steps     int
	err       error
	done      bool
}

// Next copies the next key and value into the pointers and reports whether there was one.
func (it *MapIterator) Next(keyOut, valueOut any) bool {
	if it.done || it.err != nil {
		return false
	}
	if err := it.m.open(); err != nil {
		it.err = it.m.wrap("iterate", err)
		return false
	}
	if it.next == nil {
		it.next, it.cur = make([]byte, it.m.KeySize()), make([]byte, it.m.KeySize())
	}
	value := make([]byte, it.m.m.ValueSize())
	// A key deleted under the walk sends the kernel's order back to the start; the
	// bound keeps a map that churns for ever from holding the caller.
	for ; it.steps <= int(it.m.MaxEntries()); it.steps++ {
		var cur []byte
		if it.started {
			cur = it.cur
		}
		if err := it.m.m.NextKey(cur, it.next); err != nil {
			it.done = true
			if !errors.Is(err, errno.ENOENT) {
				it.err = it.m.wrap("iterate", err)
			}
			return false
		}
		it.started = true
		it.cur, it.next = it.next, it.cur
		err := it.m.m.Lookup(it.cur, value, 0)
		if errors.Is(err, errno.ENOENT) {
			continue // empty slot of a program array or map array, or just deleted
		}
		if err == nil {
			if err = marshal.Decode(keyOut, it.cur); err == nil {
				err = it.m.decodeValue(valueOut, value)
			}
		}
		if err != nil {
			it.err = it.m.wrap("iterate", err)
			return false
		}
		it.steps++
		return true
	}
	it.err = it.m.wrap("iterate", ErrIterationAborted)
	return false
}

// Err returns what ended the walk early, or nil.
func (it *MapIterator) Err() error { return it.err }

func (m *Map) wrap(op string, err error) error {
	if err == nil {
		return nil
	}
	return wrapMap(m.Name(), op, err)
}

func (m *Map) appendKey(dst []byte, key any) ([]byte, error) {
	size := int(m.KeySize())
	if size == 0 && key == nil {
		return nil, nil
	}
	if s, ok := key.(*Socket); ok {
		number, err := m.socketNumber(s)
		if err != nil {
			return nil, fmt.Errorf("key: %w", err)
		}
		key = number
	}
	k, err := marshal.Append(dst, key, size)
	if err != nil {
		return nil, fmt.Errorf("key: %w", err)
	}
	return k, nil
}

func (m *Map) appendValue(dst []byte, value any) (v []byte, err error) {
	switch x := value.(type) {
	case *Map:
		if x == nil {
			return nil, errors.New("value: nil map")
		}
		return marshal.Append(dst, x.ID(), m.m.ValueSize())
	case *Program:
		if x == nil {
			return nil, errors.New("value: nil program")
		}
		return marshal.Append(dst, x.ID(), m.m.ValueSize())
	case *Socket:
		number, err := m.socketNumber(x)
		if err != nil {
			return nil, fmt.Errorf("value: %w", err)
		}
		if m.m.ValueSize() == 8 {
			return marshal.Append(dst, uint64(number), 8)
		}
		return marshal.Append(dst, number, m.m.ValueSize())
	}
	if m.PerCPU() {
		v, err = marshal.AppendPerCPU(dst, value, int(m.ValueSize()), m.CPUs())
	} else {
		v, err = marshal.Append(dst, value, int(m.ValueSize()))
	}
	if err != nil {
		return nil, fmt.Errorf("value: %w", err)
	}
	return v, nil
}

// socketNumber is what stands for a socket in keys and values.
func (m *Map) socketNumber(s *Socket) (uint32, error) {
	if s == nil {
		return 0, errors.New("nil socket")
	}
	number := m.mach.m.Sockets.Number(s)
	if number == 0 {
		return 0, errors.New("a socket that is closed, or of another machine")
	}
	return number, nil
}

func (m *Map) decodeValue(dst any, v []byte) error {
	var err error
	if m.PerCPU() {
		err = marshal.DecodePerCPU(dst, v, int(m.ValueSize()), m.CPUs())
	} else {
		err = marshal.Decode(dst, v)
	}
	if err != nil {
		return fmt.Errorf("value: %w", err)
	}
	return nil
}
