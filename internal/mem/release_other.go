//go:build race || !amd64

package mem

import "sync/atomic"

// StoreRelease stores v for those who load p atomically: they see all that was done before.
func StoreRelease(p *atomic.Uint64, v uint64) { p.Store(v) }
