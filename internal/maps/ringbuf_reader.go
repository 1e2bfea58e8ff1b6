package maps

import (
	"sync/atomic"

	"github.com/skep-bpf/skep/internal/mem"
)

// Consume calls f with each finished record, oldest first, until there is none,
// one is still busy, or f returns false; discarded ones are skipped. It returns how many f saw.
// A record is valid until f returns; then its room is given back. Readers take turns.
func (m *RingBuf) Consume(f func(sample []byte) bool) int {
	m.reading.Lock()
	defer m.reading.Unlock()
	n := 0
	if m.shared != nil {
		for more := true; more; {
			var seen bool
			if seen, more = m.shared.consume(f); seen {
				n++
			}
		}
		return n
	}
	cons := m.taken()
	for more := true; more && cons < m.finished(); {
		h := atomic.LoadUint32(m.header(cons))
		if h&ringBusy != 0 {
			break
		}
		size := uint64(h &^ ringDiscard)
		if recordSize(size) > m.mask+1 {
			break // another process has read into the middle of a record
		}
		if h&ringDiscard == 0 {
			n++
			more = f(mem.Bytes(m.data+cons&m.mask+ringHdrSize, int(size)))
		}
		cons += recordSize(size)
		m.take(cons)
	}
	return n
}

// Wake receives when the kernel would wake a poll on the map, at least once
// after the last such moment.
func (m *RingBuf) Wake() <-chan struct{} {
	if m.shared != nil {
		m.shared.watch()
	}
	return m.wake
}

// Avail returns how many bytes lie between reader and writers, headers included.
func (m *RingBuf) Avail() uint64 {
	cons := m.taken()
	return atomic.LoadUint64(m.prod) - cons
}

// Dropped returns how many records found no room since the map was made.
func (m *RingBuf) Dropped() uint64 {
	if m.shared != nil {
		return atomic.LoadUint64(m.shared.word64(ringDropped))
	}
	return m.dropped.Load()
}
