package maps

import (
	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
)

// checkInner follows bpf_map_meta_alloc: there is an inner map to go by, it is
// not a map of maps itself, and its type can be compared.
func checkInner(def *catalog.MapDef) errno.Errno {
	if def.Inner == nil || def.Inner.Inner != nil {
		return errno.EINVAL
	}
	if row := catalog.MapKindByType(def.Inner.Type); row == nil || row.Traits&catalog.Inner == 0 {
		return errno.ENOTSUPP
	}
	if def.Inner.Exclusive != nil {
		return errno.ENOTSUPP
	}
	return 0
}

// resolveInner turns a descriptor into a map that fits the template (bpf_map_fd_get_ptr).
func (c *core) resolveInner(value []byte) (Map, errno.Errno) {
	if c.cfg.Map == nil {
		return nil, errno.EBADF
	}
	m, err := c.cfg.Map(index(value))
	if err != nil {
		return nil, asErrno(err)
	}
	m = Unwrap(m)
	if m.Def().Exclusive != nil {
		m.Close()
		return nil, errno.ENOTSUPP
	}
	if !metaEqual(c.def.Inner, m.Def()) {
		m.Close()
		return nil, errno.EINVAL
	}
	return m, 0
}
