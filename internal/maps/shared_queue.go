package maps

import (
	"sync/atomic"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
)

// A queue or stack that processes share has its places in the file, and head and tail, in one word that is stored
// last, in its first page: who is killed before has changed nothing.
const (
	queueLock = shmType     // of who changes it, or reads
	queueEnds = shmType + 8 // head, and tail in the upper half
)

func sharedQueueSize(def *catalog.MapDef, _ int) (uint64, bool) { return queueBytes(def), true }

func newSharedQueue(c *core) (Map, errno.Errno) {
	b, e := c.shm.mapBehind(queueBytes(&c.def))
	if e != 0 {
		return nil, e
	}
	return queueOver(c, b)
}

// fetch takes the lock of all processes, and reads where the ends are.
func (m *Queue) fetch() errno.Errno {
	if _, e := m.shm.lock(m.shm.word32(queueLock)); e != 0 { // what a dead holder had in hand is as if never done
		return e
	}
	ends := atomic.LoadUint64(m.shm.word64(queueEnds))
	if m.head, m.tail = uint32(ends), uint32(ends>>32); m.head >= m.size || m.tail >= m.size {
		m.head, m.tail = 0, 0 // somebody wrote over it
	}
	return 0
}

// store writes them back, and gives the lock back.
func (m *Queue) store() {
	atomic.StoreUint64(m.shm.word64(queueEnds), uint64(m.head)|uint64(m.tail)<<32)
	m.shm.unlock(m.shm.word32(queueLock))
}
