package maps

import (
	"runtime"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/skep-bpf/skep/internal/mem"
)

// seqLock is a lock whose number tells those who read without it whether they saw
// one state: it is odd while somebody writes, and another one afterwards.
//
//	n := l.begin()
//	… read, by loadWords; what is read is worth nothing yet …
//	if l.same(n) { it was one state } else { take the lock and read again }
//
// Reading so takes two loads. A write takes one exchange that waits for memory, where
// a sync.Mutex takes two. It is held for moments only: those who find it held ask again.
type seqLock struct {
	seq   atomic.Uint64
	queue sync.Mutex // of those who wait: one asks, the others sleep
}

// Lock begins a write, and Unlock ends it.
func (l *seqLock) Lock() {
	if n := l.seq.Load(); n&1 != 0 || !mem.SwapFirst(&l.seq, n, n+1) {
		l.wait()
	}
}

// Unlock is described with Lock.
func (l *seqLock) Unlock() { mem.StoreRelease(&l.seq, l.seq.Load()+1) }

// wait is Lock for who did not get it at once. A holder that lost its processor gets it back the
// sooner the less those who wait do.
func (l *seqLock) wait() {
	const asks, yields = 64, 512
	l.queue.Lock()
	defer l.queue.Unlock()
	for i := 0; ; i++ {
		if n := l.seq.Load(); n&1 == 0 && mem.SwapFirst(&l.seq, n, n+1) {
			return
		}
		switch {
		case i < asks:
		case i < yields:
			runtime.Gosched()
		default:
			time.Sleep(20 * time.Microsecond)
		}
	}
}

// begin returns the number to ask same about.
func (l *seqLock) begin() uint64 { return l.seq.Load() }

// same reports whether nobody has written since begin.
func (l *seqLock) same(n uint64) bool { return n&1 == 0 && l.seq.Load() == n }

// lockStripes are locks shared by the elements of a map, by element number.
type lockStripes [64]struct {
	seqLock
	_ [48]byte // a cache line each
}

func (s *lockStripes) of(i uint32) *seqLock { return &s[i%64].seqLock }

// loadWords copies n bytes from src, which is aligned to 8 and followed by what
// makes n a multiple of 8, each word by an atomic load, so that a seqLock's number that is
// loaded later is later.
func loadWords(dst, src unsafe.Pointer, n uintptr) {
	i := uintptr(0)
	for ; i+8 <= n; i += 8 {
		storeBytes(unsafe.Add(dst, i), atomic.LoadUint64((*uint64)(unsafe.Add(src, i))), 8)
	}
	if i < n {
		storeBytes(unsafe.Add(dst, i), atomic.LoadUint64((*uint64)(unsafe.Add(src, i))), n-i)
	}
}

// storeBytes stores the first n bytes, 1 to 8, of a word as it lies in memory.
func storeBytes(dst unsafe.Pointer, word uint64, n uintptr) {
	b := (*[8]byte)(unsafe.Pointer(&word))
	switch n {
	case 8:
		*(*[8]byte)(dst) = *b
	case 4:
		*(*[4]byte)(dst) = [4]byte(b[:4])
	default:
		copy(unsafe.Slice((*byte)(dst), n), b[:n])
	}
}
