package mem

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// AllocMirrored returns head zeroed bytes, then size zeroed bytes, then the
// same size bytes once more: what is written across the end of the first copy
// appears at its beginning. Both lengths are multiples of the page size.
//
//	│ head │ data │ data again │
func AllocMirrored(head, size int) (*Block, error) {
	fd, err := unix.MemfdCreate("skep-ring", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("mem: mirrored block: %w", err)
	}
	defer unix.Close(fd)
	if err := unix.Ftruncate(fd, int64(size)); err != nil {
		return nil, fmt.Errorf("mem: mirrored block of %d bytes: %w", size, err)
	}
	raw, err := unix.Mmap(-1, 0, head+2*size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE|noReserve)
	if err != nil {
		return nil, fmt.Errorf("mem: %d bytes: %w", head+2*size, err)
	}
	for _, off := range []int{head, head + size} {
		// MAP_FIXED replaces pages of the mapping above, which nobody uses yet.
		at := unsafe.Pointer(&raw[off])
		if _, err := unix.MmapPtr(fd, 0, at, uintptr(size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_FIXED); err != nil {
			unix.Munmap(raw)
			return nil, fmt.Errorf("mem: mirroring %d bytes: %w", size, err)
		}
	}
	return register(&Block{addr: uint64(uintptr(unsafe.Pointer(&raw[0]))), data: raw, raw: raw}), nil
}
