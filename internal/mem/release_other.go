//go:build race || !amd64

package mem

import "sync/atomic"

// StoreRelease stores v for those who load p atomically: they see all that was done before.
func StoreRelease(p *atomic.Uint64, v uint64) { p.Store(v) }

// StoreFirst stores v so that who sees a later store sees this one too.
func StoreFirst(p *atomic.Uint64, v uint64) {
	p.Store(v)
	p.Load() // which comes after the store, and before all that follows
}

// StoreRelease32 is StoreRelease of 32 bits.
func StoreRelease32(p *uint32, v uint32) { atomic.StoreUint32(p, v) }
