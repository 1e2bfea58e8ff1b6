// Package perf reads what programs write with bpf_perf_event_output, as
// cilium/ebpf's package of the same name does for the kernel's.
//
//	samples, err := perf.NewReader(coll.Maps["samples"], 4096) // bytes for each CPU
//	defer samples.Close()
//	for {
//		rec, err := samples.Read() // waits for the next one
//		… rec.CPU, rec.RawSample, rec.LostSamples …
//	}
package perf

import (
	"fmt"
	"math/bits"
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

// Record is one sample, or the news that samples were lost.
type Record struct {
	CPU int
	// RawSample is what the program wrote, with up to 7 bytes of padding, as the kernel delivers it.
	RawSample []byte
	// LostSamples is how many samples found no room before this point; RawSample is then empty.
	LostSamples uint64
	// Remaining is how many bytes were left in this CPU's buffer after the record.
	Remaining int
}

// ReaderOptions shape a [Reader].
type ReaderOptions struct {
	// Watermark is how many bytes must have come before Read wakes; 0: any sample wakes it.
	Watermark int
}

// Reader takes samples out of one buffer per CPU. Its methods are safe for concurrent use.
type Reader struct {
	array *maps.PerfEventArray
	rings []*maps.PerfBuffer
	wakes []<-chan struct{} // of the rings
	wait  *observe.Waiter

	place sync.Mutex // keeps Pause, Resume and Close apart
	mu    sync.Mutex // ReadInto
	next  int        // the ring to look at first
	rec   maps.PerfRecord
}

// NewReader gives every CPU a buffer of at least perCPUBuffer bytes and puts it into the map.
func NewReader(m *skep.Map, perCPUBuffer int) (*Reader, error) {
	return NewReaderWithOptions(m, perCPUBuffer, ReaderOptions{})
}

// NewReaderWithOptions is [NewReader] with options.
func NewReaderWithOptions(m *skep.Map, perCPUBuffer int, opts ReaderOptions) (*Reader, error) {
	if perCPUBuffer < 1 || perCPUBuffer > 1<<30 {
		return nil, fmt.Errorf("perf: per-CPU buffer of %d bytes", perCPUBuffer)
	}
	mp, err := unwrap.Map(m)
	if err != nil {
		return nil, fmt.Errorf("perf: %w", err)
	}
	array, ok := mp.(*maps.PerfEventArray)
	if !ok {
		mp.Close()
		return nil, fmt.Errorf("perf: map %s is of type %s", m.Name(), m.Type())
	}
	r := &Reader{array: array, wait: observe.NewWaiter()}
	size := 1 << bits.Len(uint(max(perCPUBuffer, 4096)-1))
	for cpu := range min(int(m.MaxEntries()), m.CPUs()) {
		ring, err := maps.NewPerfBuffer(cpu, size, opts.Watermark)
		if err != nil {
			r.Close()
			return nil, fmt.Errorf("perf: %w", err)
		}
		r.rings = append(r.rings, ring)
		r.wakes = append(r.wakes, ring.Wake())
	}
	r.Resume()
	return r, nil
}

// Close takes the buffers out of the map and rouses a blocked Read, which
// returns [ErrClosed], as do all later ones.
func (r *Reader) Close() error {
	r.place.Lock()
	defer r.place.Unlock()
	if !r.wait.Close() {
		return nil
	}
	r.put(false)
	for _, ring := range r.rings {
		ring.Close()
	}
	r.array.Close()
	return nil
}

// Pause takes the buffers out of the map: programs' output fails until Resume.
func (r *Reader) Pause() error { return r.setPlaced(false) }

// Resume puts the buffers back.
func (r *Reader) Resume() error { return r.setPlaced(true) }

func (r *Reader) setPlaced(in bool) error {
	r.place.Lock()
	defer r.place.Unlock()
	if r.wait.Closed() {
		return fmt.Errorf("perf: %w", ErrClosed)
	}
	r.put(in)
	return nil
}

// put puts the rings into the map, or takes them out.
func (r *Reader) put(in bool) {
	for i, ring := range r.rings {
		if !in {
			ring = nil
		}
		r.array.Set(uint32(i), ring)
	}
}

// SetDeadline makes Read give up at t with [os.ErrDeadlineExceeded]; the zero time means never.
func (r *Reader) SetDeadline(t time.Time) { r.wait.SetDeadline(t) }

// Flush rouses a blocked Read although the watermark is not reached: samples
// come out, then [ErrFlushed] once.
func (r *Reader) Flush() error {
	r.wait.Flush()
	return nil
}

// BufferSize returns the size of one CPU's buffer in bytes.
func (r *Reader) BufferSize() int {
	if len(r.rings) == 0 {
		return 0
	}
	return r.rings[0].Size()
}

// Read waits for the next record. CPUs take turns.
func (r *Reader) Read() (Record, error) {
	var rec Record
	err := r.ReadInto(&rec)
	return rec, err
}

// ReadInto is [Reader.Read] that reuses the memory of rec.
func (r *Reader) ReadInto(rec *Record) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.wait.Wait(func() bool { return r.poll(rec) }, r.wakes...); err != nil {
		return fmt.Errorf("perf: %w", err)
	}
	return nil
}

// poll takes the next record of any CPU.
func (r *Reader) poll(rec *Record) bool {
	for range r.rings {
		ring := r.rings[r.next]
		r.next = (r.next + 1) % len(r.rings)
		r.rec.RawSample = rec.RawSample
		if ring.Read(&r.rec) {
			*rec = Record{CPU: ring.CPU(), RawSample: r.rec.RawSample, LostSamples: r.rec.LostSamples, Remaining: ring.Pending()}
			return true
		}
	}
	return false
}
