package maps

import (
	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
)

// index reads the key of a type whose elements have numbers.
func index(key []byte) uint32 { return *(*uint32)(ptr(key)) }

// place returns the number of the element that an update is for. Flags go up to most.
func (c *core) place(key []byte, flags, most uint64) (uint32, errno.Errno) {
	i := index(key)
	switch {
	case flags > most:
		return 0, errno.EINVAL
	case i >= c.def.MaxEntries:
		return 0, errno.E2BIG
	}
	return i, 0
}

// placeThere is place for elements that are always there.
func (c *core) placeThere(key []byte, flags uint64) (uint32, errno.Errno) {
	i, e := c.place(key, flags, catalog.UpdateExist)
	if e == 0 && flags == catalog.UpdateNoExist {
		return 0, errno.EEXIST
	}
	return i, e
}

// empty empties the element of a key, in an array of what user space names by descriptors
// (__fd_array_map_delete_elem). take reports whether anything was there.
func (c *core) empty(key []byte, take func(i uint32) bool) errno.Errno {
	i := index(key)
	switch {
	case i >= c.def.MaxEntries:
		return errno.E2BIG
	case !take(i):
		return errno.ENOENT
	}
	return 0
}

// nextIndex walks 0 … n−1; a missing or too large key starts over (array_map_get_next_key).
func nextIndex(key, next []byte, n uint32) errno.Errno {
	i := uint32(0)
	if key != nil {
		switch at := index(key); {
		case at == n-1:
			return errno.ENOENT
		case at < n:
			i = at + 1
		}
	}
	*(*uint32)(ptr(next)) = i
	return 0
}
