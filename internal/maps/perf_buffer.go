package maps

import (
	"encoding/binary"
	"fmt"
	"sync"
	"sync/atomic"
	"unsafe"

	"github.com/skep-bpf/skep/internal/errno"
)

// PerfBuffer is the ring one CPU's perf samples go to, with the records
// perf_event_open(2) describes for an event of PERF_COUNT_SW_BPF_OUTPUT with
// PERF_SAMPLE_RAW:
//
//	┌──────────┬──────┬────────┬────────────┬──────────────────────────┐
//	│ type = 9 │ misc │ length │ size       │ size bytes, 0 up to 8    │  sample
//	└──────────┴──────┴────────┴────────────┴──────────────────────────┘
//	                           └ before it the time and the CPU, 8 bytes each, where the event wants them
//	┌──────────┬──────┬────────┬────────────────────┬──────────────────┐
//	│ type = 2 │ misc │ length │ id                 │ lost             │  samples that found no room
//	└──────────┴──────┴────────┴────────────────────┴──────────────────┘
//	 4 bytes    2      2        8                    8
//
// A sample that finds no room is counted and reported by a lost record before
// the next one that does. A buffer that is overwritten has always room; it may be filled
// from its end to its beginning, so that the newest sample comes first to a reader.
type PerfBuffer struct {
	cpu  int
	wake chan struct{}

	mu         sync.Mutex
	data       []byte
	page       []byte // struct perf_event_mmap_page in memory shared with a reader; nil: none
	head, tail uint64 // written and read, in bytes since the beginning
	lost       uint64 // not yet reported
	watermark  uint64 // bytes between wake-ups, 0: each sample wakes
	woken      uint64 // bytes written since the last wake-up
	every      int    // samples between wake-ups, instead of watermark; 0: none
	samples    int    // since the last wake-up
	overwrite  bool
	backward   bool
	now        func() uint64 // the time before each sample, in nanoseconds; nil: none
	tellCPU    bool          // the CPU before each sample
	off        bool          // nothing may be written now
	closed     bool
	onWake     func()
}

// Offsets of struct perf_event_mmap_page, in bytes.
const (
	perfPageHead     = 1024 // data_head
	perfPageTail     = 1032
	perfPageDataOff  = 1040
	perfPageDataSize = 1048
)

// PerfSharing is how a buffer in shared memory is written.
type PerfSharing struct {
	Watermark uint64 // bytes between wake-ups; 0: half the buffer
	Every     int    // samples between wake-ups, where Watermark says nothing
	Overwrite bool   // readers only read: old samples make room for new ones
	Backward  bool   // from the end to the beginning
	// Now is the time that stands before each sample, in nanoseconds (PERF_SAMPLE_TIME); nil: none does.
	Now func() uint64
	CPU bool // and the CPU (PERF_SAMPLE_CPU)
}

// EmptyPerfBuffer makes a buffer for samples of cpu without memory, for Share to give it some.
func EmptyPerfBuffer(cpu int) *PerfBuffer {
	return &PerfBuffer{cpu: cpu, wake: make(chan struct{}, 1)}
}

// Share gives a buffer memory that a reader maps: a page that tells
// where data ends and begins, and the data, a power of two of pages. The reader can
// write all of it at any time; nothing it writes has the buffer do more than lose samples.
func (b *PerfBuffer) Share(memory []byte, pageSize int, o PerfSharing) error {
	size := len(memory) - pageSize
	if size < pageSize || size&(size-1) != 0 {
		return fmt.Errorf("perf buffer of %d bytes: not a page and a power of two of pages", len(memory))
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.data, b.page = memory[pageSize:], memory[:pageSize:pageSize]
	b.watermark, b.every = min(o.Watermark, uint64(size)), o.Every
	b.overwrite, b.backward = o.Overwrite || o.Backward, o.Backward
	b.now, b.tellCPU = o.Now, o.CPU
	if b.watermark == 0 {
		b.watermark = uint64(size) / 2
	}
	binary.NativeEndian.PutUint64(b.page[perfPageDataOff:], uint64(pageSize))
	binary.NativeEndian.PutUint64(b.page[perfPageDataSize:], uint64(size))
	return nil
}

// word is an aligned word of the shared page. It is sound as long as the memory is mapped, which
// Close ends the use of.
func (b *PerfBuffer) word(off int) *uint64 { return (*uint64)(unsafe.Pointer(&b.page[off])) }

// taken is how far the reader is.
func (b *PerfBuffer) taken() uint64 {
	if b.page != nil {
		return atomic.LoadUint64(b.word(perfPageTail))
	}
	return b.tail
}

// OnWake has f called whenever Wake would receive. f must not block.
func (b *PerfBuffer) OnWake(f func()) {
	b.mu.Lock()
	b.onWake = f
	b.mu.Unlock()
}

// Enable lets samples in, or keeps them out.
func (b *PerfBuffer) Enable(on bool) {
	b.mu.Lock()
	b.off = !on
	b.mu.Unlock()
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
	b.mu.Lock()
	defer b.mu.Unlock()
	var buf [perfHeaderSize + 2*8 + 4]byte
	head := b.before(buf[:perfHeaderSize])
	length := uint64(len(head)) + size
	if length > 1<<16-1 {
		return errno.E2BIG
	}
	need := length
	if b.lost != 0 {
		need += perfLostSize
	}
	// What the reader says may be anything: more than all data used is no room.
	if used := b.head - b.taken(); b.closed || b.off || need >= uint64(len(b.data)) ||
		!b.overwrite && (used > uint64(len(b.data)) || used+need >= uint64(len(b.data))) {
		b.lost++
		return errno.ENOSPC
	}
	end := b.head
	if b.backward {
		b.head -= need
		end = b.head
	}
	if b.lost != 0 {
		var rec [perfLostSize]byte
		perfHeader(rec[:], perfRecordLost, perfLostSize)
		binary.NativeEndian.PutUint64(rec[16:], b.lost)
		b.append(rec[:])
		b.lost = 0
	}
	perfHeader(head, perfRecordSample, uint16(length))
	b.append(binary.NativeEndian.AppendUint32(head, uint32(size-4)))
	b.append(data)
	b.append(extra)
	var pad [8]byte
	b.append(pad[:size-4-uint64(len(data))-uint64(len(extra))])
	if b.backward {
		b.head = end
	}
	if b.page != nil {
		atomic.StoreUint64(b.word(perfPageHead), b.head)
	}
	b.written(need)
	return 0
}

// before adds to a sample's header what the event wants between it and the data.
func (b *PerfBuffer) before(head []byte) []byte {
	if b.now != nil {
		head = binary.NativeEndian.AppendUint64(head, b.now())
	}
	if b.tellCPU {
		head = binary.NativeEndian.AppendUint64(head, uint64(uint32(b.cpu)))
	}
	return head
}

// written wakes readers where they asked for it.
func (b *PerfBuffer) written(n uint64) {
	b.samples++
	b.woken += n
	if b.every != 0 && b.samples >= b.every {
		b.samples = 0
	} else if b.watermark != 0 && b.woken <= b.watermark {
		return
	}
	b.woken = 0
	signal(b.wake)
	if b.onWake != nil {
		b.onWake()
	}
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

// Close refuses further samples; what is there can still be read, but for shared memory, which is no longer touched.
func (b *PerfBuffer) Close() {
	b.mu.Lock()
	b.closed = true
	if b.page != nil {
		b.page, b.data = nil, nil
	}
	b.mu.Unlock()
}

// Size returns the size of the buffer in bytes.
func (b *PerfBuffer) Size() int { return len(b.data) }
