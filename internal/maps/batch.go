package maps

import (
	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
)

// LookupBatch follows bpf_map_do_batch and, for all but the hash types,
// generic_map_lookup_batch.
func (c *core) LookupBatch(b Batch) (int, error) {
	if !c.offers(catalog.OpBatchLookup) {
		return 0, errno.ENOTSUPP
	}
	n, e := 0, c.lockFlags(b.ElemFlags)
	if e == 0 {
		n, e = c.lookupBatch(&b, false)
	}
	return n, asError(e)
}

// LookupAndDeleteBatch is offered by the hash types only.
func (c *core) LookupAndDeleteBatch(b Batch) (int, error) {
	n, e := 0, c.beginWrite(catalog.OpBatchLookupDelete, 0)
	defer c.endWrite()
	if e == 0 && !c.offers(catalog.OpBatchLookupDelete) {
		e = errno.ENOTSUPP
	}
	if e == 0 {
		e = c.lockFlags(b.ElemFlags)
	}
	if e == 0 {
		n, e = c.lookupBatch(&b, true)
	}
	return n, asError(e)
}

// UpdateBatch follows generic_map_update_batch.
func (c *core) UpdateBatch(b Batch) (int, error) {
	n, e := 0, c.beginWrite(catalog.OpBatchUpdate, 0)
	defer c.endWrite()
	if e == 0 && !c.offers(catalog.OpBatchUpdate) {
		e = errno.ENOTSUPP
	}
	if e == 0 {
		e = c.lockFlags(b.ElemFlags)
	}
	ks, vs := int(c.def.KeySize), c.ValueSize()
	if e == 0 && !b.holds(ks, vs) {
		e = errno.EFAULT
	}
	if e == 0 {
		if t, ok := c.impl.(batchSetter); ok {
			n, e = t.updateBatch(b)
		} else {
			n, e = c.updateEach(b)
		}
	}
	return n, asError(e)
}

// updateEach updates the elements of a batch one by one.
func (c *core) updateEach(b Batch) (n int, e errno.Errno) {
	ks, vs := int(c.def.KeySize), c.ValueSize()
	for ; n < int(b.Count); n++ {
		if e = c.impl.update(b.Keys[n*ks:][:ks], b.Values[n*vs:][:vs], b.ElemFlags); e != 0 {
			break
		}
	}
	return n, e
}

// DeleteBatch follows generic_map_delete_batch.
func (c *core) DeleteBatch(b Batch) (int, error) {
	n, e := 0, c.beginWrite(catalog.OpBatchDelete, 0)
	defer c.endWrite()
	if e == 0 && !c.offers(catalog.OpBatchDelete) {
		e = errno.ENOTSUPP
	}
	if e == 0 {
		e = c.lockFlags(b.ElemFlags)
	}
	ks := int(c.def.KeySize)
	if e == 0 && !b.holds(ks, 0) {
		e = errno.EFAULT
	}
	for ; e == 0 && n < int(b.Count); n++ {
		if e = c.impl.delete(b.Keys[n*ks:][:ks]); e != 0 {
			break
		}
	}
	return n, asError(e)
}

// holds reports whether the buffers are large enough for Count elements.
func (b *Batch) holds(keySize, valueSize int) bool {
	return uint64(len(b.Keys)) >= uint64(b.Count)*uint64(keySize) &&
		uint64(len(b.Values)) >= uint64(b.Count)*uint64(valueSize)
}

// lookupBatch walks by NextKey unless the type has a walk of its own. An
// element that vanished between the two steps is skipped.
func (c *core) lookupBatch(b *Batch, remove bool) (int, errno.Errno) {
	if t, ok := c.impl.(batcher); ok {
		return t.batch(b, remove)
	}
	ks, vs := int(c.def.KeySize), c.ValueSize()
	if b.Count == 0 {
		return 0, 0
	}
	if !b.holds(ks, vs) || b.In != nil && len(b.In) < ks || len(b.Out) < ks {
		return 0, errno.EFAULT
	}
	key, last := make([]byte, ks), make([]byte, ks)
	prev := b.In
	if prev != nil {
		prev = prev[:ks]
	}
	n := 0
	for n < int(b.Count) {
		if e := c.impl.nextKey(prev, key); e != 0 {
			if n > 0 {
				copy(b.Out, last)
			}
			return n, e
		}
		e := c.impl.lookup(key, b.Values[n*vs:][:vs], b.ElemFlags)
		if e != 0 && e != errno.ENOENT {
			return 0, e
		}
		if e == 0 {
			copy(b.Keys[n*ks:], key)
			n++
		}
		key, last = last, key
		prev = last
	}
	copy(b.Out, last)
	return n, 0
}
