// Package ringbuf reads BPF ring buffers, as cilium/ebpf's package of the same
// name does for the kernel's.
//
//	events, err := ringbuf.NewReader(coll.Maps["events"])
//	defer events.Close()
//	for {
//		rec, err := events.Read() // waits for the next one
//		… rec.RawSample …
//	}
package ringbuf

import (
	"fmt"
	"sync"
	"time"

	"github.com/skep-bpf/skep"
	"github.com/skep-bpf/skep/internal/maps"
	"github.com/skep-bpf/skep/internal/observe"
	"github.com/skep-bpf/skep/internal/unwrap"
)

// Errors of [Reader.Read]. A deadline that has passed gives [os.ErrDeadlineExceeded].
var (
	ErrClosed  = observe.ErrClosed
	ErrFlushed = observe.ErrFlushed
)

// Record is one record a program submitted.
type Record struct {
	RawSample []byte
	// Remaining is how many bytes were left in the ring after this record, headers included.
	Remaining int
}

// Reader takes records out of a ring buffer. Its methods are safe for
// concurrent use; readers of one map share its records.
type Reader struct {
	ring *maps.RingBuf
	wait *observe.Waiter
	mu   sync.Mutex // ReadInto
}

// NewReader makes a reader of a map of type ringbuf.
func NewReader(m *skep.Map) (*Reader, error) {
	mp, err := unwrap.Map(m)
	if err != nil {
		return nil, fmt.Errorf("ringbuf: %w", err)
	}
	ring, ok := mp.(*maps.RingBuf)
	if !ok {
		mp.Close()
		return nil, fmt.Errorf("ringbuf: map %s is of type %s", m.Name(), m.Type())
	}
	return &Reader{ring: ring, wait: observe.NewWaiter()}, nil
}

// Close rouses a blocked Read, which returns [ErrClosed], as do all later ones.
func (r *Reader) Close() error {
	if r.wait.Close() {
		r.mu.Lock() // no Read is looking at the ring any more
		defer r.mu.Unlock()
		r.ring.Close()
	}
	return nil
}

// SetDeadline makes Read give up at t with [os.ErrDeadlineExceeded]; the zero time means never.
func (r *Reader) SetDeadline(t time.Time) { r.wait.SetDeadline(t) }

// Flush rouses a blocked Read even if no record asks for it: records that were
// submitted without wake-up come out, then [ErrFlushed] once.
func (r *Reader) Flush() error {
	r.wait.Flush()
	return nil
}

// BufferSize returns the size of the ring in bytes.
func (r *Reader) BufferSize() int { return int(r.ring.Def().MaxEntries) }

// AvailableBytes returns how many bytes wait to be read, headers included.
func (r *Reader) AvailableBytes() int { return int(r.ring.Avail()) }

// Dropped returns how many records found no room since the map was made.
func (r *Reader) Dropped() uint64 { return r.ring.Dropped() }

// Read waits for the next record.
func (r *Reader) Read() (Record, error) {
	var rec Record
	err := r.ReadInto(&rec)
	return rec, err
}

// ReadInto is [Reader.Read] that reuses the memory of rec.
func (r *Reader) ReadInto(rec *Record) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	take := func(sample []byte) bool {
		rec.RawSample = append(rec.RawSample[:0], sample...)
		return false
	}
	err := r.wait.Wait(func() bool { return r.ring.Consume(take) != 0 }, r.ring.Wake())
	if err != nil {
		return fmt.Errorf("ringbuf: %w", err)
	}
	rec.Remaining = int(r.ring.Avail())
	return nil
}
