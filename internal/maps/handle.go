package maps

import (
	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
)

// Handle is a map as one descriptor sees it: BPF_F_RDONLY and BPF_F_WRONLY
// belong to the descriptor, not to the map, and bind the control side only. The program
// side is the map's own.
type Handle struct {
	Map
	read, write bool
}

// Open returns a view of m that obeys the access flags of a descriptor
// (bpf_get_file_flag): both together are EINVAL, none is m itself. The view takes no reference of its own.
func Open(m Map, flags uint32) (Map, error) {
	m = Unwrap(m)
	switch flags & (catalog.FlagRdonly | catalog.FlagWronly) {
	case 0:
		return m, nil
	case catalog.FlagRdonly:
		return &Handle{Map: m, read: true}, nil
	case catalog.FlagWronly:
		return &Handle{Map: m, write: true}, nil
	}
	return nil, errno.EINVAL
}

// Unwrap returns the map behind a [Handle], or m itself.
func Unwrap(m Map) Map {
	if h, ok := m.(*Handle); ok {
		return h.Map
	}
	return m
}

// Allows reports whether the descriptor may read, write, or both.
func (h *Handle) Allows(read, write bool) bool { return (!read || h.read) && (!write || h.write) }

// Lookup needs a readable descriptor.
func (h *Handle) Lookup(key, value []byte, flags uint64) error {
	if flags&^catalog.UpdateLock != 0 {
		return errno.EINVAL
	}
	if !h.read {
		return errno.EPERM
	}
	return h.Map.Lookup(key, value, flags)
}

// LookupAndDelete needs a descriptor that is both readable and writable, which a Handle is not.
func (h *Handle) LookupAndDelete(key, value []byte, flags uint64) error {
	if flags&^catalog.UpdateLock != 0 {
		return errno.EINVAL
	}
	return errno.EPERM
}

// Update needs a writable descriptor.
func (h *Handle) Update(key, value []byte, flags uint64) error {
	if !h.write {
		return errno.EPERM
	}
	return h.Map.Update(key, value, flags)
}

// Delete needs a writable descriptor.
func (h *Handle) Delete(key []byte) error {
	if !h.write {
		return errno.EPERM
	}
	return h.Map.Delete(key)
}

// NextKey needs a readable descriptor.
func (h *Handle) NextKey(key, next []byte) error {
	if !h.read {
		return errno.EPERM
	}
	return h.Map.NextKey(key, next)
}

// LookupBatch needs a readable descriptor.
func (h *Handle) LookupBatch(b Batch) (int, error) {
	if !h.read {
		return 0, errno.EPERM
	}
	return h.Map.LookupBatch(b)
}

// LookupAndDeleteBatch needs a descriptor that is both readable and writable, which a Handle is not.
func (h *Handle) LookupAndDeleteBatch(Batch) (int, error) { return 0, errno.EPERM }

// UpdateBatch needs a writable descriptor.
func (h *Handle) UpdateBatch(b Batch) (int, error) {
	if !h.write {
		return 0, errno.EPERM
	}
	return h.Map.UpdateBatch(b)
}

// DeleteBatch needs a writable descriptor.
func (h *Handle) DeleteBatch(b Batch) (int, error) {
	if !h.write {
		return 0, errno.EPERM
	}
	return h.Map.DeleteBatch(b)
}

// Freeze needs a writable descriptor.
func (h *Handle) Freeze() error {
	if len(h.Def().Special) != 0 {
		return errno.ENOTSUPP
	}
	if !h.write {
		return errno.EPERM
	}
	return h.Map.Freeze()
}
