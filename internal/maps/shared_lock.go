package maps

import (
	"sync/atomic"
	"time"

	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/mem"
)

// A bpf_spin_lock in a value that processes share holds the token of the process that has it. Taking it cannot fail, so it is
// waited for as long as its holder lives, up to breakAfter: then it is taken from a holder who is stopped, or never was one.
// What a killed holder left half done in the value stays so, as nobody knows what it meant to do.

const breakAfter = 10 * time.Second

// LockShared takes the bpf_spin_lock at addr if other processes have it too; false: they do not, and nothing was done.
func LockShared(addr uint64) bool {
	b, ok := sharedLocks.of(addr)
	if ok {
		b.shm.lockValue((*uint32)(mem.Ptr(addr)))
	}
	return ok
}

// UnlockShared gives back what LockShared took.
func UnlockShared(addr uint64) bool {
	b, ok := sharedLocks.of(addr)
	if ok {
		b.shm.unlockValue((*uint32)(mem.Ptr(addr)))
	}
	return ok
}

// shareLocks has the locks in a map's values, which lie in a block, taken in the way of several processes.
func (c *core) shareLocks(values *mem.Block) {
	if c.vals.lock >= 0 {
		c.vals.shm, c.shm.values = c.shm, values
		sharedLocks.add(values, c.shm)
	}
}

// forget ends that; the block is about to go.
func (s *shm) forget() {
	if s.values != nil {
		sharedLocks.remove(s.values)
	}
}

func (s *shm) lockValue(word *uint32) {
	var start time.Time
	for {
		if _, e := s.lock(word); e != errno.EBUSY {
			return
		}
		switch now := time.Now(); {
		case start.IsZero():
			start = now
		case now.Sub(start) > breakAfter:
			atomic.StoreUint32(word, s.token)
			return
		}
	}
}

// unlockValue leaves a lock alone that was taken from this process meanwhile.
func (s *shm) unlockValue(word *uint32) { atomic.CompareAndSwapUint32(word, s.token, 0) }
