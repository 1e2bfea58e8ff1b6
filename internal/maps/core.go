package maps

import (
	"sync"
	"sync/atomic"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/mem"
)

// impl is what a map type does for the control side, below the checks that are
// the same for all types. Keys and values have the right length. Zero is success.
type impl interface {
	lookup(key, value []byte, flags uint64) errno.Errno
	update(key, value []byte, flags uint64) errno.Errno
	delete(key []byte) errno.Errno
	nextKey(key, next []byte) errno.Errno // key nil: the first
	// free gives the memory back; no program can reach it any more.
	free()
}

// releaser is implemented by types that hold references to programs and maps:
// release gives them back as soon as nobody new can come, while free waits for
// the programs that run. What release closes waits likewise.
type releaser interface {
	release()
}

// popper is implemented by the types that offer OpLookupDelete.
type popper interface {
	pop(key, value []byte, flags uint64) errno.Errno
}

// recluse is implemented by types that do something more simply while nobody but
// the one who made the map can know it, no program above all. leave ends that: it
// returns when whatever began before is done.
type recluse interface{ leave() }

// guard is implemented by types whose single writes of the control side ask under
// their locks whether the map is frozen: nobody has to count those. settle returns
// when whatever was done under locks at the time is done.
type guard interface{ settle() }

// batcher is implemented by types whose lookup batches are not the generic ones.
type batcher interface {
	batch(b *Batch, remove bool) (int, errno.Errno)
}

// batchSetter is implemented by types that update many elements faster than one
// by one; it returns how many before the error.
type batchSetter interface {
	updateBatch(b Batch) (int, errno.Errno)
}

// core is the part that all map types share: the facts, the header, the
// reference count, and the checks of kernel/bpf/syscall.c around every
// operation of the control side.
type core struct {
	def  catalog.MapDef
	row  *catalog.MapKind
	cfg  *Config
	vals valueLayout

	valueSize int // as the control side sees values
	impl      impl

	ownHeader bool // the header is from headers, not part of a larger block (ring buffers)
	shm       *shm // where other processes have the map too; else nil

	reg      *Registry // nil until the map is in one
	refs     atomic.Int64
	guards   bool         // impl is a guard
	writers  atomic.Int64 // writes of the control side under way (map->writecnt), but for those a guard admits
	frozen   atomic.Bool
	freezing sync.Mutex
	exposed  atomic.Bool // there was a second reference, and impl knows it
	exposing sync.Mutex
}

// Def returns the map's facts.
func (c *core) Def() *catalog.MapDef { return &c.def }

// ValueSize follows bpf_map_value_size.
func (c *core) ValueSize() int { return c.valueSize }

// offers reports whether the type has an operation of the control side.
func (c *core) offers(op catalog.MapOp) bool { return c.row.Ops&op != 0 }

// Acquire takes another reference.
func (c *core) Acquire() {
	c.expose()
	c.refs.Add(1)
}

// expose comes before every reference but the first.
func (c *core) expose() {
	if c.exposed.Load() {
		return
	}
	c.exposing.Lock()
	defer c.exposing.Unlock()
	if r, ok := c.impl.(recluse); ok {
		r.leave()
	}
	c.exposed.Store(true)
}

// tryAcquire is Acquire for who has no reference yet; it fails once the last one is gone.
func (c *core) tryAcquire() bool {
	c.expose()
	for n := c.refs.Load(); n > 0; n = c.refs.Load() {
		if c.refs.CompareAndSwap(n, n+1) {
			return true
		}
	}
	return false
}

func (c *core) setRegistry(r *Registry) { c.reg = r }

// Close gives a reference back; the last one frees the map.
func (c *core) Close() {
	if n := c.refs.Add(-1); n > 0 {
		return
	} else if n < 0 {
		panic("BUG: map closed more often than acquired")
	}
	if c.reg != nil {
		c.reg.dropID(c)
	}
	if r, ok := c.impl.(releaser); ok {
		r.release()
	}
	c.cfg.retire(func() {
		if c.reg != nil {
			c.reg.dropPtr(c)
		}
		if c.shm != nil {
			c.shm.forget()
		}
		c.impl.free()
		if c.shm != nil {
			c.shm.close()
		}
		c.def.BTF.Drop()
		if c.ownHeader {
			headers.Put(c.def.Ptr)
		}
	})
}

// lockFlags checks flags that may hold nothing but BPF_F_LOCK.
func (c *core) lockFlags(flags uint64) errno.Errno {
	if flags&^catalog.UpdateLock != 0 {
		return errno.EINVAL
	}
	return c.lockable(flags)
}

// lockable refuses BPF_F_LOCK where values have no spin lock.
func (c *core) lockable(flags uint64) errno.Errno {
	if flags&catalog.UpdateLock != 0 && c.vals.lock < 0 {
		return errno.EINVAL
	}
	return 0
}

// keyed checks a key's length; types without keys take only nil.
func (c *core) keyed(key []byte) errno.Errno {
	if len(key) != int(c.def.KeySize) {
		return errno.EINVAL
	}
	return 0
}

// elem checks the lengths of a key and a value.
func (c *core) elem(key, value []byte) errno.Errno {
	if e := c.keyed(key); e != 0 {
		return e
	}
	if len(value) != c.valueSize {
		return errno.EINVAL
	}
	return 0
}

// Admit follows what the commands of kernel/bpf/syscall.c check first.
func (c *core) Admit(op catalog.MapOp, flags uint64) errno.Errno {
	const writes = catalog.OpUpdate | catalog.OpDelete | catalog.OpLookupDelete |
		catalog.OpBatchUpdate | catalog.OpBatchDelete | catalog.OpBatchLookupDelete
	switch {
	case op&(catalog.OpLookup|catalog.OpLookupDelete) != 0 && flags&^catalog.UpdateLock != 0:
		return errno.EINVAL
	case op&writes != 0 && c.isFrozen():
		return errno.EPERM
	case op == catalog.OpLookupDelete && flags != 0 && c.def.KeySize == 0 && c.offers(op):
		return errno.EINVAL // queue and stack know no flags
	case op&(catalog.OpLookup|catalog.OpUpdate|catalog.OpLookupDelete) != 0:
		return c.lockable(flags)
	case op == catalog.OpFreeze && (len(c.def.Special) != 0 || !c.offers(op)):
		return errno.ENOTSUPP
	}
	return 0
}

// beginOne and endOne are beginWrite and endWrite of one element.
func (c *core) beginOne(op catalog.MapOp, flags uint64) errno.Errno {
	if !c.guards {
		c.writers.Add(1)
	}
	return c.admit(op, flags)
}

// admit is Admit, with what all but a few calls are decided in the caller's code.
func (c *core) admit(op catalog.MapOp, flags uint64) errno.Errno {
	if flags == 0 && !c.frozen.Load() && c.shm == nil && op&(catalog.OpLookup|catalog.OpUpdate) != 0 {
		return 0
	}
	return c.Admit(op, flags)
}

func (c *core) endOne() {
	if !c.guards {
		c.writers.Add(-1)
	}
}

// beginWrite opens a write of the control side, if that is admitted; endWrite closes it, whatever beginWrite said.
func (c *core) beginWrite(op catalog.MapOp, flags uint64) errno.Errno {
	c.writers.Add(1) // before it is asked whether the map is frozen
	return c.Admit(op, flags)
}

func (c *core) isFrozen() bool { return c.frozen.Load() || c.shm != nil && c.shm.frozen() }

func (c *core) endWrite() { c.writers.Add(-1) }

// Lookup follows map_lookup_elem.
func (c *core) Lookup(key, value []byte, flags uint64) error {
	e := c.admit(catalog.OpLookup, flags)
	if e == 0 {
		e = c.elem(key, value)
	}
	if e == 0 {
		e = c.impl.lookup(key, value, flags)
	}
	return asError(e)
}

// Update follows map_update_elem.
func (c *core) Update(key, value []byte, flags uint64) error {
	e := c.beginOne(catalog.OpUpdate, flags)
	if e == 0 {
		e = c.elem(key, value)
	}
	if e == 0 {
		e = c.impl.update(key, value, flags)
	}
	c.endOne()
	return asError(e)
}

// Delete follows map_delete_elem.
func (c *core) Delete(key []byte) error {
	e := c.beginOne(catalog.OpDelete, 0)
	defer c.endOne()
	if e == 0 {
		e = c.keyed(key)
	}
	if e == 0 {
		e = c.impl.delete(key)
	}
	return asError(e)
}

// NextKey follows map_get_next_key.
func (c *core) NextKey(key, next []byte) error {
	var e errno.Errno
	if key != nil {
		e = c.keyed(key)
	}
	if e == 0 {
		e = c.keyed(next)
	}
	if e == 0 {
		e = c.impl.nextKey(key, next)
	}
	return asError(e)
}

// LookupAndDelete follows map_lookup_and_delete_elem.
func (c *core) LookupAndDelete(key, value []byte, flags uint64) error {
	e := c.beginOne(catalog.OpLookupDelete, flags)
	defer c.endOne()
	if e == 0 {
		e = c.elem(key, value)
	}
	if e == 0 {
		if c.offers(catalog.OpLookupDelete) {
			e = c.impl.(popper).pop(key, value, flags)
		} else {
			e = errno.ENOTSUPP
		}
	}
	return asError(e)
}

// Freeze follows map_freeze: maps with special fields cannot be frozen, a map
// that is being written is busy, and a frozen one can no longer be written, not even by this.
func (c *core) Freeze() error {
	if e := c.Admit(catalog.OpFreeze, 0); e != 0 {
		return e
	}
	if c.isFrozen() {
		return errno.EPERM
	}
	c.freezing.Lock()
	defer c.freezing.Unlock()
	if c.writers.Load() != 0 || c.isFrozen() {
		return errno.EBUSY
	}
	c.writers.Add(1) // until it is done, whoever asks learns that the map may still change
	c.frozen.Store(true)
	if g, ok := c.impl.(guard); ok {
		g.settle()
	}
	c.writers.Add(-1)
	if c.shm != nil {
		c.shm.freeze()
	}
	return nil
}

// Frozen reports whether Freeze has succeeded.
func (c *core) Frozen() bool { return c.isFrozen() }

// freeFields hands the special fields of a value to the Machine and zeroes
// them (bpf_obj_free_fields), so that the memory can hold another element.
func (c *core) freeFields(value uint64) {
	for _, f := range c.vals.special {
		if c.cfg.FreeField != nil {
			c.cfg.FreeField(f, value+uint64(f.Off))
		}
		if f.Kind == catalog.SpecialSpinLock || f.Kind == catalog.SpecialResSpinLock {
			continue // whoever still holds it must be able to release it
		}
		clear(mem.Bytes(value+uint64(f.Off), int(f.Size)))
	}
}

// asError makes an error of a number; zero is nil.
func asError(e errno.Errno) error {
	if e == 0 {
		return nil
	}
	return e
}

// asErrno makes a number of a resolver's error.
func asErrno(err error) errno.Errno {
	if e, ok := err.(errno.Errno); ok {
		return e
	}
	return errno.EBADF
}

// ret makes R0 of a number.
func ret(e errno.Errno) uint64 { return uint64(-int64(e)) }
