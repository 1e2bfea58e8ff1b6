package skep

import (
	"errors"
	"fmt"
	"reflect"

	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/maps"
	"github.com/skep-bpf/skep/internal/marshal"
)

// BatchOptions are the flags of a batch operation.
type BatchOptions struct {
	ElemFlags uint64
	Flags     uint64
}

// MapBatchCursor is where a batch lookup goes on. The zero value starts at the
// beginning; it is good for one map only.
type MapBatchCursor struct {
	m   maps.Map
	pos []byte
}

// BatchLookup copies up to len(keysOut) elements into two slices of equal
// length and returns how many. The error wraps [ErrKeyNotExist] when these were the last.
func (m *Map) BatchLookup(cursor *MapBatchCursor, keysOut, valuesOut any, opts *BatchOptions) (int, error) {
	return m.batchLookup("batch lookup", m.m.LookupBatch, cursor, keysOut, valuesOut, opts)
}

// BatchLookupAndDelete is [Map.BatchLookup] that removes what it returns.
func (m *Map) BatchLookupAndDelete(cursor *MapBatchCursor, keysOut, valuesOut any, opts *BatchOptions) (int, error) {
	return m.batchLookup("batch lookup and delete", m.m.LookupAndDeleteBatch, cursor, keysOut, valuesOut, opts)
}

// BatchUpdate sets many elements and returns how many it set before an error.
func (m *Map) BatchUpdate(keys, values any, opts *BatchOptions) (int, error) {
	const op = "batch update"
	b, err := m.batch(keys, opts)
	if err != nil {
		return 0, m.wrap(op, err)
	}
	if b.Values, err = m.appendBatchValues(values, int(b.Count)); err != nil {
		return 0, m.wrap(op, err)
	}
	n, err := m.m.UpdateBatch(b)
	return n, m.wrap(op, err)
}

// BatchDelete removes many elements and returns how many it removed before an error.
func (m *Map) BatchDelete(keys any, opts *BatchOptions) (int, error) {
	b, err := m.batch(keys, opts)
	if err != nil {
		return 0, m.wrap("batch delete", err)
	}
	n, err := m.m.DeleteBatch(b)
	return n, m.wrap("batch delete", err)
}

// batch starts a batch with the keys of a slice.
func (m *Map) batch(keys any, opts *BatchOptions) (maps.Batch, error) {
	var b maps.Batch
	if err := m.open(); err != nil {
		return b, err
	}
	if opts != nil {
		b.ElemFlags, b.Flags = opts.ElemFlags, opts.Flags
	}
	s := reflect.ValueOf(keys)
	if s.Kind() != reflect.Slice {
		return b, fmt.Errorf("keys: a batch needs a slice, not %T", keys)
	}
	b.Count = uint32(s.Len())
	var ok bool
	if b.Keys, ok = marshal.Slice(keys, int(m.KeySize()), s.Len()); ok {
		return b, nil
	}
	b.Keys = make([]byte, 0, s.Len()*int(m.KeySize()))
	for i := range s.Len() {
		var err error
		if b.Keys, err = marshal.Append(b.Keys, s.Index(i).Interface(), int(m.KeySize())); err != nil {
			return b, fmt.Errorf("key %d: %w", i, err)
		}
	}
	return b, nil
}

// appendBatchValues encodes count values. Those of a per-CPU map are a flat
// slice, all CPUs of the first key before those of the second.
func (m *Map) appendBatchValues(values any, count int) ([]byte, error) {
	s := reflect.ValueOf(values)
	per := m.batchStride()
	if s.Kind() != reflect.Slice {
		return nil, fmt.Errorf("values: a batch needs a slice, not %T", values)
	}
	if s.Len() != count*per {
		return nil, fmt.Errorf("values: %d for %d keys, want %d", s.Len(), count, count*per)
	}
	size := int(m.ValueSize())
	slot := m.m.ValueSize() / per
	if slot == size {
		if b, ok := marshal.Slice(values, size, s.Len()); ok {
			return b, nil
		}
	}
	out := make([]byte, 0, s.Len()*slot)
	for i := range s.Len() {
		var err error
		if out, err = marshal.Append(out, s.Index(i).Interface(), size); err != nil {
			return nil, fmt.Errorf("value %d: %w", i, err)
		}
		out = append(out, make([]byte, slot-size)...)
	}
	return out, nil
}

// batchStride is how many elements of a values slice belong to one key.
func (m *Map) batchStride() int {
	if m.PerCPU() {
		return m.CPUs()
	}
	return 1
}

func (m *Map) batchLookup(op string, f func(maps.Batch) (int, error), cursor *MapBatchCursor, keysOut, valuesOut any, opts *BatchOptions) (int, error) {
	if err := m.open(); err != nil {
		return 0, m.wrap(op, err)
	}
	ks, vs := reflect.ValueOf(keysOut), reflect.ValueOf(valuesOut)
	per := m.batchStride()
	if ks.Kind() != reflect.Slice || vs.Kind() != reflect.Slice {
		return 0, m.wrap(op, fmt.Errorf("a batch needs two slices, not %T and %T", keysOut, valuesOut))
	}
	if vs.Len() != ks.Len()*per {
		return 0, m.wrap(op, fmt.Errorf("room for %d values of %d keys, want %d", vs.Len(), ks.Len(), ks.Len()*per))
	}
	if cursor.m != nil && cursor.m != m.m {
		return 0, m.wrap(op, errors.New("the cursor belongs to another map"))
	}
	count, keySize, valueSize := ks.Len(), int(m.KeySize()), m.m.ValueSize()
	slot := valueSize / per
	b := maps.Batch{In: cursor.pos, Out: make([]byte, max(keySize, 4)), Count: uint32(count)}
	var keysAre, valuesAre bool // the caller's memory, nothing is to be turned
	if b.Keys, keysAre = marshal.Slice(keysOut, keySize, count); !keysAre {
		b.Keys = make([]byte, count*keySize)
	}
	if slot == int(m.ValueSize()) {
		b.Values, valuesAre = marshal.Slice(valuesOut, slot, count*per)
	}
	if !valuesAre {
		b.Values = make([]byte, count*valueSize)
	}
	if opts != nil {
		b.ElemFlags, b.Flags = opts.ElemFlags, opts.Flags
	}
	n, err := f(b)
	if err != nil && !errors.Is(err, errno.ENOENT) {
		return n, m.wrap(op, err)
	}
	cursor.m, cursor.pos = m.m, b.Out
	for i := 0; i < n && !(keysAre && valuesAre); i++ {
		if !keysAre {
			if e := marshal.Decode(ks.Index(i).Addr().Interface(), b.Keys[i*keySize:(i+1)*keySize]); e != nil {
				return i, m.wrap(op, fmt.Errorf("key %d: %w", i, e))
			}
		}
		for j := 0; j < per && !valuesAre; j++ {
			v := b.Values[i*valueSize+j*slot:][:m.ValueSize()]
			if e := marshal.Decode(vs.Index(i*per+j).Addr().Interface(), v); e != nil {
				return i, m.wrap(op, fmt.Errorf("value %d: %w", i*per+j, e))
			}
		}
	}
	return n, m.wrap(op, err)
}
