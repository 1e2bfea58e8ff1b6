//go:build unix

package mem

import (
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Alloc returns size zeroed bytes, rounded up to whole pages behind the scenes.
// The system gives memory to pages when they are first written.
func Alloc(size int) (*Block, error) { return alloc(size, 0, true) }

// AllocSparse is Alloc for a block of which only pages here and there will be written.
func AllocSparse(size int) (*Block, error) { return alloc(size, 0, false) }

// AllocGuarded is Alloc with an inaccessible page before and after, so that a
// stray access faults. The last byte of the block ends at the upper guard.
func AllocGuarded(size int) (*Block, error) { return alloc(size, os.Getpagesize(), true) }

// alloc maps size bytes between two guards of the given size; dense means that
// most of it will be written.
//
//	│ guard │ slack │ size bytes │ guard │
//	└───────┴───────┴────────────┴───────┘   slack only where there are guards
func alloc(size, guard int, dense bool) (*Block, error) {
	if size <= 0 {
		return nil, fmt.Errorf("mem: allocation of %d bytes", size)
	}
	page := os.Getpagesize()
	pages := (size + page - 1) &^ (page - 1)
	raw, err := unix.Mmap(-1, 0, pages+2*guard, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE|noReserve)
	if err != nil {
		return nil, fmt.Errorf("mem: %d bytes: %w", size, err)
	}
	if dense {
		preferHuge(raw)
	}
	off := 0
	if guard != 0 {
		off = guard + pages - size
		for _, g := range [][]byte{raw[:guard], raw[guard+pages:]} {
			if err := unix.Mprotect(g, unix.PROT_NONE); err != nil {
				unix.Munmap(raw)
				return nil, fmt.Errorf("mem: guard page: %w", err)
			}
		}
	}
	return register(&Block{addr: uint64(uintptr(unsafe.Pointer(&raw[off]))), data: raw[off : off+size], raw: raw}), nil
}

// Free gives the memory back. Nothing may hold an address into it any more.
func (b *Block) Free() {
	if b.raw != nil {
		unregister(b)
		unix.Munmap(b.raw)
		b.unshare()
		b.raw, b.data = nil, nil
	}
}
