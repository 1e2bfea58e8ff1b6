package bpfsys

import (
	"encoding/binary"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/maps"
	"github.com/skep-bpf/skep/internal/run"
)

// Objects tells which tasks and inodes a caller's descriptors are of, see [maps.ObjectAt].
type Objects interface {
	Object(kind catalog.MapOwners, fd int32) (id maps.Identity, born uint64, e errno.Errno)
}

// toObject replaces the descriptor in a key or value by the number of what it is of,
// which is used until the call ends.
func (c *call) toObject(kind catalog.MapOwners, b []byte) {
	o, e := c.object(kind, int32(binary.NativeEndian.Uint32(b)))
	n := run.NoDescriptor
	switch {
	case e == errno.ENOENT:
		n = maps.Ended
	case e == 0:
		c.done = append(c.done, o.Put)
		n = o.Number()
	}
	binary.NativeEndian.PutUint32(b, n)
}

func (c *call) object(kind catalog.MapOwners, fd int32) (*maps.Object, errno.Errno) {
	if kind == catalog.OwnersCGroups {
		path, e := c.cgroup(fd)
		if e != 0 {
			return nil, e
		}
		return c.s.m.Objects.Get(maps.Identity{Kind: kind, ID: path[0]}, 0), 0
	}
	if c.who.Objects == nil {
		return nil, errno.EBADF
	}
	id, born, e := c.who.Objects.Object(kind, fd)
	if e != 0 {
		return nil, e
	}
	return c.s.m.Objects.Get(id, born), 0
}
