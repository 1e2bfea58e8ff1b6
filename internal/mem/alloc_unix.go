//go:build unix

package mem

import (
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Alloc returns size zeroed bytes, rounded up to whole pages behind the scenes.
func Alloc(size int) (*Block, error) {
	if size <= 0 {
		return nil, fmt.Errorf("mem: allocation of %d bytes", size)
	}
	page := os.Getpagesize()
	raw, err := unix.Mmap(-1, 0, (size+page-1)&^(page-1), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		return nil, fmt.Errorf("mem: %d bytes: %w", size, err)
	}
	return &Block{addr: uint64(uintptr(unsafe.Pointer(&raw[0]))), size: size, raw: raw}, nil
}

// Free gives the memory back. Nothing may hold an address into it any more.
func (b *Block) Free() {
	if b.raw != nil {
		unix.Munmap(b.raw)
		b.raw = nil
	}
}
