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

// needs are the rights that operations need.
const (
	needsRead  = catalog.OpLookup | catalog.OpNextKey | catalog.OpLookupDelete | catalog.OpBatchLookup | catalog.OpBatchLookupDelete
	needsWrite = catalog.OpUpdate | catalog.OpDelete | catalog.OpLookupDelete | catalog.OpFreeze |
		catalog.OpBatchUpdate | catalog.OpBatchDelete | catalog.OpBatchLookupDelete
)

// Admit asks for the descriptor's rights, once flags that no map knows are refused.
func (h *Handle) Admit(op catalog.MapOp, flags uint64) errno.Errno {
	switch {
	case op&(catalog.OpLookup|catalog.OpLookupDelete) != 0 && flags&^catalog.UpdateLock != 0:
		return errno.EINVAL
	case op == catalog.OpFreeze:
		if e := h.Map.Admit(op, flags); e != 0 {
			return e
		}
	}
	if !h.Allows(op&needsRead != 0, op&needsWrite != 0) {
		return errno.EPERM
	}
	return h.Map.Admit(op, flags)
}

// Lookup needs a readable descriptor.
func (h *Handle) Lookup(key, value []byte, flags uint64) error {
	if e := h.Admit(catalog.OpLookup, flags); e != 0 {
		return e
	}
	return h.Map.Lookup(key, value, flags)
}

// LookupAndDelete needs a descriptor that is both readable and writable, which a Handle is not.
func (h *Handle) LookupAndDelete(_, _ []byte, flags uint64) error {
	return h.Admit(catalog.OpLookupDelete, flags)
}

// Update needs a writable descriptor.
func (h *Handle) Update(key, value []byte, flags uint64) error {
	if e := h.Admit(catalog.OpUpdate, flags); e != 0 {
		return e
	}
	return h.Map.Update(key, value, flags)
}

// Delete needs a writable descriptor.
func (h *Handle) Delete(key []byte) error {
	if e := h.Admit(catalog.OpDelete, 0); e != 0 {
		return e
	}
	return h.Map.Delete(key)
}

// NextKey needs a readable descriptor.
func (h *Handle) NextKey(key, next []byte) error {
	if e := h.Admit(catalog.OpNextKey, 0); e != 0 {
		return e
	}
	return h.Map.NextKey(key, next)
}

// LookupBatch needs a readable descriptor.
func (h *Handle) LookupBatch(b Batch) (int, error) {
	if e := h.Admit(catalog.OpBatchLookup, 0); e != 0 {
		return 0, e
	}
	return h.Map.LookupBatch(b)
}

// LookupAndDeleteBatch needs a descriptor that is both readable and writable, which a Handle is not.
func (h *Handle) LookupAndDeleteBatch(Batch) (int, error) {
	return 0, h.Admit(catalog.OpBatchLookupDelete, 0)
}

// UpdateBatch needs a writable descriptor.
func (h *Handle) UpdateBatch(b Batch) (int, error) {
	if e := h.Admit(catalog.OpBatchUpdate, 0); e != 0 {
		return 0, e
	}
	return h.Map.UpdateBatch(b)
}

// DeleteBatch needs a writable descriptor.
func (h *Handle) DeleteBatch(b Batch) (int, error) {
	if e := h.Admit(catalog.OpBatchDelete, 0); e != 0 {
		return 0, e
	}
	return h.Map.DeleteBatch(b)
}

// Freeze needs a writable descriptor.
func (h *Handle) Freeze() error {
	if e := h.Admit(catalog.OpFreeze, 0); e != 0 {
		return e
	}
	return h.Map.Freeze()
}
