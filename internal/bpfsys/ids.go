package bpfsys

import (
	"math"
	"sync"
	"unsafe"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/maps"
	"github.com/skep-bpf/skep/internal/run"
)

// idTable numbers objects; it holds no references.
type idTable[T any] struct {
	mu   sync.Mutex
	last uint32
	objs map[uint32]T
}

// add gives the next free id after the last one given (idr_alloc_cyclic).
func (t *idTable[T]) add(o T, set func(id uint32)) errno.Errno {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.objs) >= math.MaxInt32-1 {
		return errno.ENOSPC
	}
	if t.objs == nil {
		t.objs = map[uint32]T{}
	}
	for taken := true; taken; {
		t.last++
		if t.last >= math.MaxInt32 {
			t.last = 1
		}
		_, taken = t.objs[t.last]
	}
	set(t.last)
	t.objs[t.last] = o
	return 0
}

func (t *idTable[T]) drop(id uint32) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.objs, id)
}

// get returns an object that tryGet could take a reference to.
func (t *idTable[T]) get(id uint32, tryGet func(T) bool) (o T, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	o, ok = t.objs[id]
	return o, ok && tryGet(o)
}

// next returns the smallest id above id.
func (t *idTable[T]) next(id uint32) (next uint32, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for i := range t.objs {
		if i > id && (!ok || i < next) {
			next, ok = i, true
		}
	}
	return next, ok
}

// nextID follows bpf_obj_get_next_id.
func (c *call) nextID(next func(uint32) (uint32, bool)) (int32, errno.Errno) {
	a := as[getID](&c.attr)
	if a.StartId >= math.MaxInt32 {
		return 0, errno.EINVAL
	}
	if !c.who.can(CapSysAdmin) {
		return 0, errno.EPERM
	}
	id, ok := next(a.StartId)
	if !ok {
		return 0, errno.ENOENT
	}
	return 0, c.put(unsafe.Offsetof(a.NextId), u32bytes(id))
}

func (c *call) progNextID() (int32, errno.Errno) { return c.nextID(c.s.m.NextProgram) }
func (c *call) mapNextID() (int32, errno.Errno)  { return c.nextID(c.s.m.Maps.NextID) }
func (c *call) btfNextID() (int32, errno.Errno) {
	c.s.kernelBTF() // which has a number too
	return c.nextID(c.s.btfs.next)
}
func (c *call) linkNextID() (int32, errno.Errno) { return c.nextID(c.s.links.next) }

// progByID follows bpf_prog_get_fd_by_id.
func (c *call) progByID() (int32, errno.Errno) {
	if !c.who.can(CapSysAdmin) {
		return 0, errno.EPERM
	}
	p := c.s.m.Program(as[getID](&c.attr).StartId)
	if p == nil {
		return 0, errno.ENOENT
	}
	return c.install(p)
}

// mapByID follows bpf_map_get_fd_by_id.
func (c *call) mapByID() (int32, errno.Errno) {
	a := as[getID](&c.attr)
	const flags = catalog.FlagRdonly | catalog.FlagWronly
	if a.OpenFlags&^flags != 0 {
		return 0, errno.EINVAL
	}
	if !c.who.can(CapSysAdmin) {
		return 0, errno.EPERM
	}
	if a.OpenFlags == flags {
		return 0, errno.EINVAL
	}
	m := c.s.m.MapByID(a.StartId)
	if m == nil {
		return 0, errno.ENOENT
	}
	view, err := maps.Open(m, a.OpenFlags)
	if err != nil {
		c.s.m.CloseMap(m)
		return 0, numberOf(err)
	}
	return c.install(Map{view, c.s.m})
}

// btfByID follows bpf_btf_get_fd_by_id.
func (c *call) btfByID() (int32, errno.Errno) {
	a := as[getID](&c.attr)
	if a.OpenFlags&^catalog.FlagTokenFD != 0 {
		return 0, errno.EINVAL
	}
	if a.OpenFlags != 0 {
		return 0, c.token(a.FdByIdTokenFd)
	}
	if !c.who.can(CapSysAdmin) {
		return 0, errno.EPERM
	}
	c.s.kernelBTF()
	b, ok := c.s.btfs.get(a.StartId, (*BTF).tryAcquire)
	if !ok {
		return 0, errno.ENOENT
	}
	return c.install(b)
}

// linkByID follows bpf_link_get_fd_by_id.
func (c *call) linkByID() (int32, errno.Errno) {
	if !c.who.can(CapSysAdmin) {
		return 0, errno.EPERM
	}
	l, ok := c.s.links.get(as[getID](&c.attr).StartId, (*Link).tryAcquire)
	if !ok {
		return 0, errno.ENOENT
	}
	return c.install(l)
}

// token resolves a token's descriptor. There are no tokens: nobody could have made one.
func (c *call) token(fd int32) errno.Errno {
	f, e := c.who.Files.File(fd)
	if e == 0 {
		if f != nil {
			f.Put()
		}
		e = errno.EINVAL
	}
	return e
}

// progBindMap follows bpf_prog_bind_map.
func (c *call) progBindMap() (int32, errno.Errno) {
	a := as[progBindMap](&c.attr)
	if a.Flags != 0 {
		return 0, errno.EINVAL
	}
	p, pf, e := open[*run.Program](c, a.ProgFd)
	if e != 0 {
		return 0, e
	}
	defer pf.Put()
	m, mf, e := open[Map](c, a.MapFd)
	if e != 0 {
		return 0, e
	}
	defer mf.Put()
	p.Bind(maps.Unwrap(m.Map))
	return 0, 0
}
