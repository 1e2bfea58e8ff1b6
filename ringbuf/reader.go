// Package ringbuf reads BPF ring buffers, as cilium/ebpf's package of the same
// name does for the kernel's.
package ringbuf

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/skep-bpf/skep"
	"github.com/skep-bpf/skep/internal/maps"
	"github.com/skep-bpf/skep/internal/unwrap"
)

// Errors of [Reader.Read]. A deadline that has passed gives [os.ErrDeadlineExceeded].
var (
	ErrClosed  = os.ErrClosed
	ErrFlushed = errors.New("ring buffer flushed")
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

	mu       sync.Mutex // Read
	deadline time.Time

	ctl     chan struct{} // closed and made anew to rouse a blocked Read
	state   sync.Mutex    // of closed, flushed, ctl, deadline
	closed  bool
	flushed bool
}

// NewReader makes a reader of a map of type ringbuf.
func NewReader(m *skep.Map) (*Reader, error) {
	mp := unwrap.Map(m)
	ring, ok := mp.(*maps.RingBuf)
	if !ok {
		mp.Close()
		return nil, fmt.Errorf("ringbuf: map %s is of type %s", m.Name(), m.Type())
	}
	return &Reader{ring: ring, ctl: make(chan struct{})}, nil
}

// Close rouses a blocked Read, which returns [ErrClosed], as do all later ones.
func (r *Reader) Close() error {
	r.state.Lock()
	defer r.state.Unlock()
	if r.closed {
		return nil
	}
	r.closed = true
	close(r.ctl)
	r.ring.Close()
	return nil
}

// SetDeadline makes Read give up at t with [os.ErrDeadlineExceeded]; the zero time means never.
func (r *Reader) SetDeadline(t time.Time) {
	r.state.Lock()
	defer r.state.Unlock()
	r.deadline = t
	r.rouse()
}

// Flush rouses a blocked Read even if no record asks for it: records that were
// submitted without wake-up come out, then [ErrFlushed] once.
func (r *Reader) Flush() error {
	r.state.Lock()
	defer r.state.Unlock()
	r.flushed = true
	r.rouse()
	return nil
}

func (r *Reader) rouse() {
	if !r.closed {
		close(r.ctl)
		r.ctl = make(chan struct{})
	}
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
	for {
		r.state.Lock()
		closed, ctl, deadline := r.closed, r.ctl, r.deadline
		r.state.Unlock()
		if closed {
			return fmt.Errorf("ringbuf: %w", ErrClosed)
		}
		got := r.ring.Consume(func(sample []byte) bool {
			rec.RawSample = append(rec.RawSample[:0], sample...)
			return false
		})
		if got != 0 {
			rec.Remaining = int(r.ring.Avail())
			return nil
		}
		r.state.Lock()
		flushed := r.flushed
		r.flushed = false
		r.state.Unlock()
		if flushed {
			return fmt.Errorf("ringbuf: %w", ErrFlushed)
		}
		expired, stop := after(deadline)
		select {
		case <-r.ring.Wake():
		case <-ctl:
		case <-expired:
			stop()
			return fmt.Errorf("ringbuf: %w", os.ErrDeadlineExceeded)
		}
		stop()
	}
}

// after returns a channel that receives at t; never for the zero time.
func after(t time.Time) (<-chan time.Time, func() bool) {
	if t.IsZero() {
		return nil, func() bool { return true }
	}
	timer := time.NewTimer(time.Until(t))
	return timer.C, timer.Stop
}
