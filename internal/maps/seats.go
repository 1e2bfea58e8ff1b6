package maps

import (
	"runtime"
	"sync/atomic"
	"time"

	"github.com/skep-bpf/skep/internal/errno"
)

// Each process that has a map's memory takes a seat in it. Who holds a lock or a record there is named
// by a token, which is never that of another process, not even once the seat is another's:
//
//	 31                    8 7        0
//	┌───────────────────────┬──────────┐
//	│ generation            │ seat + 1 │   0: nobody
//	└───────────────────────┴──────────┘
//
// Whether the holder still lives the system says (see mem.Shared): a process that is killed leaves its seat at once.
const maxSeats = 255

// sit takes a seat.
func (s *shm) sit() error {
	seat, err := s.file.TakeSeat(s.facts.seats())
	if err != nil {
		return err
	}
	s.seat = seat
	s.token = atomic.AddUint32(s.generation(seat), 1)<<8 | uint32(seat+1)
	return nil
}

func (s *shm) generation(seat int) *uint32 { return s.word32(shmSeats + uint64(seat)*4) }

// dead reports whether the process with a token is no more. Of words that are no token it is true.
func (s *shm) dead(token uint32) bool {
	if token == s.token {
		return false
	}
	seat := int(token&0xff) - 1
	return seat < 0 || seat == s.seat || atomic.LoadUint32(s.generation(seat))<<8 != token&^0xff || !s.file.Seated(seat)
}

// How long is waited for a lock. The kernel waits a quarter of a second for its resilient locks, but its holders are
// not taken off a processor that many processes want.
const (
	lockPatience = time.Second
	lockGlance   = 2 * time.Millisecond // how often is asked whether the holder lives
	lockSpins    = 100
)

// lock takes a lock word in shared memory. orphan says that its holder died, and left what it
// guards as it was at that moment; EBUSY that somebody alive, perhaps stopped, does not give it back.
func (s *shm) lock(word *uint32) (orphan bool, e errno.Errno) {
	for range lockSpins {
		if atomic.CompareAndSwapUint32(word, 0, s.token) {
			return false, 0
		}
		runtime.Gosched()
	}
	return s.lockSlow(word)
}

func (s *shm) lockSlow(word *uint32) (orphan bool, e errno.Errno) {
	start := time.Now()
	glance := start
	for {
		now := time.Now()
		if now.Sub(glance) >= lockGlance {
			glance = now
			if holder := atomic.LoadUint32(word); holder != 0 && s.dead(holder) && atomic.CompareAndSwapUint32(word, holder, s.token) {
				return true, 0
			}
		}
		if atomic.CompareAndSwapUint32(word, 0, s.token) {
			return false, 0
		}
		if now.Sub(start) > lockPatience {
			return false, errno.EBUSY
		}
		time.Sleep(20 * time.Microsecond)
	}
}

func (s *shm) unlock(word *uint32) { atomic.StoreUint32(word, 0) }
