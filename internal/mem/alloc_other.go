//go:build !unix

package mem

import (
	"fmt"
	"unsafe"
)

// Alloc returns size zeroed bytes, eight-byte aligned. The Go heap does not
// move objects, and the Block keeps this one alive.
func Alloc(size int) (*Block, error) {
	if size <= 0 {
		return nil, fmt.Errorf("mem: allocation of %d bytes", size)
	}
	words := make([]uint64, (size+7)/8)
	raw := unsafe.Slice((*byte)(unsafe.Pointer(&words[0])), len(words)*8)
	return register(&Block{addr: uint64(uintptr(unsafe.Pointer(&raw[0]))), data: raw[:size], raw: raw}), nil
}

// AllocSparse is Alloc: this platform gives memory at once.
func AllocSparse(size int) (*Block, error) { return Alloc(size) }

// AllocGuarded is Alloc: this platform offers no guard pages.
func AllocGuarded(size int) (*Block, error) { return Alloc(size) }

// Free drops the memory. Nothing may hold an address into it any more.
func (b *Block) Free() {
	if b.raw != nil {
		unregister(b)
		b.raw, b.data = nil, nil
	}
}
