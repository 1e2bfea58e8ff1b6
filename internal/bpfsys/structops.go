package bpfsys

import (
	"encoding/binary"
	"sync"

	"github.com/cilium/ebpf/btf"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/maps"
	"github.com/skep-bpf/skep/internal/run"
)

// structure looks up what a struct_ops map is to hold (bpf_struct_ops_map_alloc).
// Structures of modules there are none.
func (c *call) structure(a *mapCreate) (*catalog.OpsDef, errno.Errno) {
	if a.MapFlags&catalog.FlagVtypeBTFObjFD != 0 {
		_, f, e := open[*BTF](c, a.ValueTypeBtfObjFd)
		if e != 0 {
			return nil, e
		}
		f.Put()
		return nil, errno.EINVAL
	}
	k := c.s.kernelBTF()
	if k == nil {
		return nil, errno.ENOTSUPP
	}
	ops := catalog.FindOps(k.spec, btf.TypeID(a.BtfVmlinuxValueTypeId))
	switch {
	case ops == nil:
		return nil, errno.ENOTSUPP
	case a.ValueSize != ops.Value.Size:
		return nil, errno.EINVAL
	}
	return ops, 0
}

// noProgram stands in a structure for a descriptor that names nothing, as 0 is no descriptor there.
const noProgram = run.OtherDescriptor - 1

// toMembers replaces the descriptors of programs in a structure's function pointers by
// their numbers. The programs are used until the call ends.
func (c *call) toMembers(ops *catalog.OpsDef, v []byte) {
	for at := range ops.Functions() {
		fd := int32(binary.NativeEndian.Uint64(v[at:]))
		if fd == 0 {
			continue
		}
		id := noProgram
		switch f, e := c.who.Files.File(fd); {
		case e != 0:
		case f == nil:
			id = run.OtherDescriptor
		default:
			c.done = append(c.done, f.Put)
			if id = run.OtherDescriptor; f.Kind() == "bpf-prog" {
				id = f.object.(*run.Program).ID()
			}
		}
		binary.NativeEndian.PutUint64(v[at:], uint64(id))
	}
}

// opsLink is the map whose structure a link registered.
type opsLink struct {
	mu sync.Mutex
	m  *maps.StructOps // nil: detached, or a link of another type
}

func (l *opsLink) id() uint32 {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.m == nil {
		return 0
	}
	return l.m.Def().ID
}

// set lets the link's map go, and takes over a reference to another that is registered by now.
func (l *opsLink) set(m *maps.StructOps) {
	l.mu.Lock()
	old := l.m
	l.m = m
	l.mu.Unlock()
	if old == nil {
		return
	}
	if m == nil {
		old.Unregister()
	}
	old.Close()
}

// opsMap opens a map whose structure a link can register; nil without error for any other.
func (c *call) opsMap(fd int32) (*maps.StructOps, *File, errno.Errno) {
	m, f, e := open[Map](c, fd)
	if e != 0 {
		return nil, nil, e
	}
	ops, ok := maps.Unwrap(m.Map).(*maps.StructOps)
	if !ok || !ops.Ready() {
		f.Put()
		return nil, nil, errno.EINVAL
	}
	return ops, f, 0
}

// linkStructOps follows bpf_struct_ops_link_create.
func (c *call) linkStructOps(a *linkCreate) (int32, errno.Errno) {
	m, f, e := c.opsMap(a.ProgFd)
	if e != 0 {
		return 0, e
	}
	defer f.Put()
	if e := m.Register(nil); e != 0 {
		return 0, e
	}
	m.Acquire()
	l := &Link{typ: LinkStructOps, attach: catalog.AttachStructOps, ops: opsLink{m: m}}
	if e := c.s.newLink(l, nil); e != 0 {
		l.ops.set(nil)
		return 0, e
	}
	return c.install(l)
}

// updateStructOps follows link_update_map and bpf_struct_ops_map_link_update.
func (c *call) updateStructOps(l *Link, a *linkUpdate) errno.Errno {
	_, f, e := open[Map](c, a.NewProgFd)
	if e != 0 {
		return e
	}
	f.Put()
	var expected maps.Map
	if a.Flags&attachReplace != 0 {
		old, f, e := open[Map](c, a.OldProgFd)
		if e != 0 {
			return e
		}
		defer f.Put()
		expected = maps.Unwrap(old.Map)
	} else if a.OldProgFd != 0 {
		return errno.EINVAL
	}
	m, f, e := c.opsMap(a.NewProgFd)
	if e != 0 {
		return e
	}
	defer f.Put()
	l.ops.mu.Lock()
	old := l.ops.m
	switch {
	case !m.Def().Ops.Row.Updates:
		e = errno.EOPNOTSUPP
	case old == nil:
		e = errno.ENOLINK
	case expected != nil && maps.Map(old) != expected:
		e = errno.EPERM
	default:
		if e = m.Register(old); e == 0 {
			m.Acquire()
			l.ops.m = m
		}
	}
	l.ops.mu.Unlock()
	if e == 0 {
		old.Close()
	}
	return e
}
