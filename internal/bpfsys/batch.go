package bpfsys

import (
	"unsafe"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/maps"
)

// Elements are copied in parts of at most so many elements and, unless one is longer, so many bytes: a count that
// nobody has elements for costs no memory.
const (
	batchPart  = 1 << 14
	batchBytes = 1 << 20
)

// partOf is how many elements of size bytes a part has.
func partOf(size int) uint32 { return uint32(min(max(batchBytes/max(size, 1), 1), batchPart)) }

const batchCountOff = unsafe.Offsetof(mapBatch{}.Count)

// batchOps are the operations of the commands.
var batchOps = map[Cmd]catalog.MapOp{
	MapLookupBatch: catalog.OpBatchLookup, MapLookupAndDeleteBatch: catalog.OpBatchLookupDelete,
	MapUpdateBatch: catalog.OpBatchUpdate, MapDeleteBatch: catalog.OpBatchDelete,
}

// mapBatch follows bpf_map_do_batch.
func (c *call) mapBatch() (int32, errno.Errno) {
	a := as[mapBatch](&c.attr)
	m, f, e := c.openMap(a.MapFd, batchOps[c.cmd.Cmd], 0)
	if e != 0 {
		return 0, e
	}
	defer f.Put()
	c.sweepSockets(m.Map)
	// What is refused whatever the elements are, an empty batch tells.
	if e := batchOp(c.cmd.Cmd, m)(&maps.Batch{ElemFlags: a.ElemFlags, Flags: a.Flags}); e != 0 {
		return 0, e
	}
	if a.Count == 0 {
		return 0, 0
	}
	if e := c.put(batchCountOff, u32bytes(0)); e != 0 {
		return 0, e
	}
	if c.cmd.Cmd == MapLookupBatch || c.cmd.Cmd == MapLookupAndDeleteBatch {
		return 0, c.batchOut(a, m)
	}
	return 0, c.batchIn(a, m)
}

// batchOp is the operation of a command.
func batchOp(cmd Cmd, m maps.Map) func(*maps.Batch) errno.Errno {
	op := m.LookupBatch
	switch cmd {
	case MapLookupAndDeleteBatch:
		op = m.LookupAndDeleteBatch
	case MapUpdateBatch:
		op = m.UpdateBatch
	case MapDeleteBatch:
		op = m.DeleteBatch
	}
	return func(b *maps.Batch) errno.Errno {
		n, err := op(*b)
		b.Count = uint32(n)
		return asNumber(err)
	}
}

// batchIn updates or deletes. What comes before an element that cannot be read is done.
func (c *call) batchIn(a *mapBatch, m maps.Map) (e errno.Errno) {
	ks, vs := int(m.Def().KeySize), m.ValueSize()
	if c.cmd.Cmd == MapDeleteBatch {
		vs = 0
	}
	op := batchOp(c.cmd.Cmd, m)
	done, part := uint32(0), partOf(ks+vs)
	for done < a.Count && e == 0 {
		n := min(part, a.Count-done)
		b := maps.Batch{Count: n, ElemFlags: a.ElemFlags, Flags: a.Flags}
		var e2 errno.Errno
		b.Keys, e = c.read(a.Keys+uint64(done)*uint64(ks), int(n)*ks)
		b.Values, e2 = c.read(a.Values+uint64(done)*uint64(vs), int(n)*vs)
		if e|e2 != 0 {
			if n > 1 { // up to where memory ends
				part, e = 1, 0
				continue
			}
			e = errno.EFAULT
			break
		}
		var held []func()
		for i := 0; vs != 0 && i < int(n); i++ {
			held = append(held, c.toIDs(m.Def(), b.Values[i*vs:][:vs]))
		}
		e = op(&b)
		for _, put := range held {
			put()
		}
		done += b.Count
	}
	if c.put(batchCountOff, u32bytes(done)) != 0 {
		e = errno.EFAULT
	}
	return e
}

// batchOut looks up, and removes where the command says so.
func (c *call) batchOut(a *mapBatch, m maps.Map) errno.Errno {
	ks, vs := int(m.Def().KeySize), m.ValueSize()
	buckets := catalog.MapKindByType(m.Def().Type).Ops&catalog.OpBatchLookupDelete != 0
	pos := ks
	if buckets {
		pos = 4
	}
	var in []byte
	if a.InBatch != 0 {
		var e errno.Errno
		if in, e = c.read(a.InBatch, pos); e != 0 {
			return e
		}
	}
	op := batchOp(c.cmd.Cmd, m)
	done, part := uint32(0), partOf(ks+vs)
	var out []byte
	var e errno.Errno
	for done < a.Count && e == 0 {
		n := min(part, a.Count-done)
		b := maps.Batch{In: in, Out: make([]byte, max(pos, 4)), Count: n, ElemFlags: a.ElemFlags, Flags: a.Flags,
			Keys: make([]byte, int(n)*ks), Values: make([]byte, int(n)*vs)}
		e = op(&b)
		if e == errno.ENOSPC && b.Count == 0 && n < a.Count-done {
			part, e = uint32(min(2*uint64(n), uint64(a.Count-done))), 0 // one bucket holds more than a part
			continue
		}
		if e == 0 || e == errno.ENOENT || e == errno.ENOSPC {
			got := int(b.Count)
			if w := c.write(a.Keys+uint64(done)*uint64(ks), b.Keys[:got*ks]); w != 0 {
				return w
			}
			if w := c.write(a.Values+uint64(done)*uint64(vs), b.Values[:got*vs]); w != 0 {
				return w
			}
			if buckets || got != 0 {
				out = b.Out[:pos]
			}
			done += b.Count
			in = b.Out[:pos]
		}
		if e == errno.ENOSPC && done != 0 {
			e = 0
			break
		}
		if e == 0 && b.Count == 0 {
			break
		}
	}
	if e == errno.EFAULT {
		return e
	}
	if c.put(batchCountOff, u32bytes(done)) != 0 || c.write(a.OutBatch, out) != 0 {
		return errno.EFAULT
	}
	return e
}
