package maps

import (
	"encoding/binary"
	"fmt"
	"sync"

	"github.com/skep-bpf/skep/internal/errno"
)

// PerfBuffer is the ring one CPU's perf samples go to, with the records
// perf_event_open(2) describes for an event of PERF_COUNT_SW_BPF_OUTPUT with
// PERF_SAMPLE_RAW:
//
//	┌──────────┬──────┬────────┬────────────┬──────────────────────────┐
//	│ type = 9 │ misc │ length │ size       │ size bytes, 0 up to 8    │  sample
//	└──────────┴──────┴────────┴────────────┴──────────────────────────┘
//	┌──────────┬──────┬────────┬────────────────────┬──────────────────┐
//	│ type = 2 │ misc │ length │ id                 │ lost             │  samples that found no room
//	└──────────┴──────┴────────┴────────────────────┴──────────────────┘
//	 4 bytes    2      2        8                    8
//
// A sample that finds no room is counted and reported by a lost record before
// the next one that does.
type PerfBuffer struct {
	cpu  int
	wake chan struct{}

	mu         sync.Mutex
	data       []byte
	head, tail uint64 // written and read, in bytes since the beginning
	lost       uint64 // not yet reported
	watermark  uint64 // bytes between wake-ups, 0: each sample wakes
	woken      uint64 // head at the last wake-up
	closed     bool
}

// Types and sizes of perf records.
const (
	perfRecordLost   = 2 // PERF_RECORD_LOST
	perfRecordSample = 9 // PERF_RECORD_SAMPLE
	perfHeaderSize   = 8
	perfLostSize     = perfHeaderSize + 16
)

// NewPerfBuffer makes a buffer of size bytes (a power of two) for samples
// written on cpu. Readers are woken when watermark bytes have come since they
// last were, or by each sample if it is 0.
func NewPerfBuffer(cpu, size, watermark int) (*PerfBuffer, error) {
	if size < 64 || size&(size-1) != 0 {
		return nil, fmt.Errorf("perf buffer of %d bytes: not a power of two", size)
	}
	if watermark >= size {
		return nil, fmt.Errorf("perf buffer of %d bytes: watermark %d is larger", size, watermark)
	}
	return &PerfBuffer{cpu: cpu, data: make([]byte, size), watermark: uint64(watermark), wake: make(chan struct{}, 1)}, nil
}

// CPU returns the CPU whose samples the buffer takes.
func (b *PerfBuffer) CPU() int { return b.cpu }

// Wake receives when the kernel would wake a poll on the event, at least once
// after the last such moment.
func (b *PerfBuffer) Wake() <-chan struct{} { return b.wake }

// write appends one sample (perf_event_output).
func (b *PerfBuffer) write(data, extra []byte) errno.Errno {
	size := (uint64(len(data)) + uint64(len(extra)) + 4 + 7) &^ 7 // with its size field
	if perfHeaderSize+size > 1<<16-1 {
		return errno.E2BIG
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	need := perfHeaderSize + size
	if b.lost != 0 {
		need += perfLostSize
	}
	if b.closed || b.head-b.tail+need >= uint64(len(b.data)) {
		b.lost++
		return errno.ENOSPC
	}
	if b.lost != 0 {
		var rec [perfLostSize]byte
		perfHeader(rec[:], perfRecordLost, perfLostSize)
		binary.NativeEndian.PutUint64(rec[16:], b.lost)
		b.append(rec[:])
		b.lost = 0
	}
	var head [perfHeaderSize + 4]byte
	perfHeader(head[:], perfRecordSample, uint16(perfHeaderSize+size))
	binary.NativeEndian.PutUint32(head[perfHeaderSize:], uint32(size-4))
	b.append(head[:])
	b.append(data)
	b.append(extra)
	var pad [8]byte
	b.append(pad[:size-4-uint64(len(data))-uint64(len(extra))])
	if b.watermark == 0 || b.head-b.woken > b.watermark {
		b.woken = b.head
		signal(b.wake)
	}
	return 0
}

func perfHeader(rec []byte, typ uint32, size uint16) {
	binary.NativeEndian.PutUint32(rec, typ)
	binary.NativeEndian.PutUint16(rec[6:], size)
}

// append copies p to the head, around the end.
func (b *PerfBuffer) append(p []byte) {
	at := int(b.head % uint64(len(b.data)))
	n := copy(b.data[at:], p)
	copy(b.data, p[n:])
	b.head += uint64(len(p))
}

// PerfRecord is one record of a [PerfBuffer].
type PerfRecord struct {
	// RawSample is what the program wrote, zero-padded to 4 bytes short of a
	// multiple of 8 as the kernel does; nil in a record of lost samples.
	RawSample []byte
	// LostSamples counts samples that found no room before this record.
	LostSamples uint64
}

// Read takes the next record out, reusing rec.RawSample's memory; it reports
// false when there is none.
func (b *PerfBuffer) Read(rec *PerfRecord) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.head == b.tail {
		return false
	}
	var head [perfHeaderSize]byte
	b.peek(head[:], 0)
	size := uint64(binary.NativeEndian.Uint16(head[6:]))
	buf := rec.RawSample[:0]
	*rec = PerfRecord{}
	if binary.NativeEndian.Uint32(head[:]) == perfRecordLost {
		var body [16]byte
		b.peek(body[:], perfHeaderSize)
		rec.LostSamples = binary.NativeEndian.Uint64(body[8:])
	} else {
		n := int(size - perfHeaderSize - 4)
		if cap(buf) < n {
			buf = make([]byte, n)
		}
		rec.RawSample = buf[:n]
		b.peek(rec.RawSample, perfHeaderSize+4)
	}
	b.tail += size
	return true
}

// peek copies bytes at an offset from the tail.
func (b *PerfBuffer) peek(p []byte, off uint64) {
	at := int((b.tail + off) % uint64(len(b.data)))
	n := copy(p, b.data[at:])
	copy(p[n:], b.data)
}

// Pending returns how many bytes wait to be read.
func (b *PerfBuffer) Pending() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return int(b.head - b.tail)
}

// Close refuses further samples; what is there can still be read.
func (b *PerfBuffer) Close() {
	b.mu.Lock()
	b.closed = true
	b.mu.Unlock()
}

// Size returns the size of the buffer in bytes.
func (b *PerfBuffer) Size() int { return len(b.data) }
