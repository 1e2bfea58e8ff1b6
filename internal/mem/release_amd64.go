//go:build !race

package mem

import (
	"sync/atomic"
	"unsafe"
)

// StoreRelease stores v for those who load p atomically: they see all that was
// done before. Other than p.Store it does not wait for the store to be seen, which
// would take longer than a small program does.
func StoreRelease(p *atomic.Uint64, v uint64) {
	// Sound: an atomic.Uint64 is one aligned word, which amd64 stores whole and after
	// every load and store that comes before.
	*(*uint64)(unsafe.Pointer(p)) = v
}

// SwapFirst stores v where old is, so that who sees a later store sees this one too, and
// reports whether it was there.
func SwapFirst(p *atomic.Uint64, old, v uint64) bool {
	return p.CompareAndSwap(old, v) // amd64 keeps stores in order
}

// StoreRelease32 is StoreRelease of 32 bits.
func StoreRelease32(p *uint32, v uint32) { *p = v } // sound for the same reason
