package linux

import (
	"encoding/binary"
	"fmt"
	"sync/atomic"
	"unsafe"
)

// PipeEvent is a record of a perf event's ring.
type PipeEvent struct {
	Type       uint32 // PERF_RECORD_SAMPLE, PERF_RECORD_LOST
	Size       int    // of the whole record, in bytes
	CPU, Index int    // whose ring it is, and where that is in the map
	Time       uint64 // of a sample: nanoseconds of the kernel's clock for such events
	Data       []byte // of a sample, valid until the next record is asked for
	ID, Lost   uint64 // of a record of lost samples: the event's number, and how many
}

// Records that a ring of an event of PERF_COUNT_SW_BPF_OUTPUT can hold (uapi).
const (
	RecordLost   = 2
	RecordSample = 9
)

// perfRing is a ring that perf_event_open(2) describes, mapped here:
//
//	┌──────────────────────────────┬─────────────────────────┐
//	│ page: … data_head, data_tail │ a power of two of pages │
//	└──────────────────────────────┴─────────────────────────┘
type perfRing struct {
	cpu, index int
	page       []byte // the whole mapping
	data       []byte
	buf        []byte // a record in one piece
}

// Offsets of struct perf_event_mmap_page.
const (
	ringHead = 1024
	ringTail = 1032
)

// position is a word of the page. It is sound as long as the page is mapped,
// which the pipe sees to, and as pages are aligned.
func (r *perfRing) position(off int) *uint64 { return (*uint64)(unsafe.Pointer(&r.page[off])) }

// drain calls do for each record that is there. What it is given is read from
// memory others write: a record that cannot be one ends the ring with an error.
func (r *perfRing) drain(do func(*PipeEvent) error) error {
	tail := *r.position(ringTail)
	for head := atomic.LoadUint64(r.position(ringHead)); tail != head; head = atomic.LoadUint64(r.position(ringHead)) {
		e, err := r.record(tail, head)
		if err != nil {
			return err
		}
		if err := do(e); err != nil {
			return err
		}
		tail += uint64(e.Size)
		atomic.StoreUint64(r.position(ringTail), tail)
	}
	return nil
}

const recordHeader = 8

// record reads the record at tail.
//
//	sample: │ type │ misc │ size │ time │ length │ data, zeros │
//	lost:   │ type │ misc │ size │ id   │ lost │
func (r *perfRing) record(tail, head uint64) (*PipeEvent, error) {
	broken := func() (*PipeEvent, error) {
		return nil, fmt.Errorf("the ring of CPU %d is broken at byte %d", r.cpu, tail)
	}
	there := head - tail
	if there < recordHeader || there > uint64(len(r.data)) {
		return broken()
	}
	h := r.piece(tail, recordHeader)
	e := &PipeEvent{Type: binary.NativeEndian.Uint32(h), Size: int(binary.NativeEndian.Uint16(h[6:])), CPU: r.cpu, Index: r.index}
	if e.Size < recordHeader || uint64(e.Size) > there {
		return broken()
	}
	body := r.piece(tail, e.Size)[recordHeader:]
	switch e.Type {
	case RecordSample:
		if len(body) < 12 {
			return broken()
		}
		e.Time = binary.NativeEndian.Uint64(body)
		n := binary.NativeEndian.Uint32(body[8:])
		if uint64(n) > uint64(len(body)-12) {
			return broken()
		}
		e.Data = body[12 : 12+n]
	case RecordLost:
		if len(body) < 16 {
			return broken()
		}
		e.ID, e.Lost = binary.NativeEndian.Uint64(body), binary.NativeEndian.Uint64(body[8:])
	}
	return e, nil
}

// piece copies n bytes out of the ring, which may go around its end.
func (r *perfRing) piece(at uint64, n int) []byte {
	r.buf = append(r.buf[:0], make([]byte, n)...)
	from := int(at % uint64(len(r.data)))
	m := copy(r.buf, r.data[from:])
	copy(r.buf[m:], r.data)
	return r.buf
}
