//go:build race || !amd64

package mem

import "sync/atomic"

// StoreRelease stores v for those who load p atomically: they see all that was done before.
func StoreRelease(p *atomic.Uint64, v uint64) { p.Store(v) }

// SwapFirst stores v where old is, so that who sees a later store sees this one too, and
// reports whether it was there.
func SwapFirst(p *atomic.Uint64, old, v uint64) bool {
	ok := p.CompareAndSwap(old, v)
	p.Load() // which comes after the store, and before all that follows
	return ok
}

// StoreRelease32 is StoreRelease of 32 bits.
func StoreRelease32(p *uint32, v uint32) { atomic.StoreUint32(p, v) }
