// Package sweep filters the records of a pcap file in native code: the headers
// are walked and the filter is run in one loop, which is left once for each run
// of records that match, not once for each packet.
//
// The filter is a classic program, translated to eBPF and from there to native
// code. It takes a program that passed classic.Check, so that every jump leads
// forward, and each of its packet loads is compared with the packet's end: no
// verifier needs to look at it.
package sweep

import (
	"errors"
	"fmt"
	"runtime"
	"unsafe"

	"github.com/skep-bpf/skep/classic"
	"github.com/skep-bpf/skep/internal/jit"
	"github.com/skep-bpf/skep/internal/mem"
	"github.com/skep-bpf/skep/internal/rewrite"
	"github.com/skep-bpf/skep/isa"
)

// ErrUnfit says that a program, or this machine, is not for native sweeps.
var ErrUnfit = errors.New("not for a native sweep")

// state is what native code and Go tell each other, at fixed offsets.
type state struct {
	length           uint32 // of the current packet on the wire: where a translated program looks for it
	_                uint32
	cursor, end      uint64 // of the records: addresses of the next one, and behind the last
	packets, matched uint64
	runStart, runEnd uint64 // of records that match, one behind the other; 0 for none
}

// Offsets within state.
const (
	atLength   = 0
	atCursor   = 8
	atEnd      = 16
	atPackets  = 24
	atMatched  = 32
	atRunStart = 40
	atRunEnd   = 48
)

// recordHeader is the size of a pcap record's header in bytes.
const recordHeader = 16

// Sweeper sweeps with one filter. It is used by one goroutine at a time.
type Sweeper struct {
	vm    *jit.VM
	prog  *jit.Program
	block *mem.Block
	state *state

	buf *byte // pinned: what native code looks at must stay where it is
	pin runtime.Pinner
}

// New makes a sweeper of a program for libpcap's machine. swap says that record
// headers are in the other byte order; a packet longer than max ends a sweep.
func New(prog []classic.Instruction, swap bool, max int) (*Sweeper, error) {
	if err := jit.Available(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnfit, err)
	}
	insns, err := compile(prog, swap, max)
	if err != nil {
		return nil, err
	}
	s := &Sweeper{}
	if s.block, err = mem.Alloc(int(unsafe.Sizeof(state{}))); err != nil {
		return nil, err
	}
	// Sound: the block is zeroed, aligned and holds no Go pointers.
	s.state = (*state)(mem.Ptr(s.block.Addr()))
	if s.vm, err = jit.New(nil, 0); err == nil {
		s.prog, err = jit.Compile(&rewrite.Program{Insns: insns}, jit.Options{})
	}
	if err != nil {
		s.Close()
		return nil, fmt.Errorf("%w: %w", ErrUnfit, err)
	}
	return s, nil
}

// Close gives code and memory back.
func (s *Sweeper) Close() {
	s.pin.Unpin()
	if s.prog != nil {
		s.prog.Free()
	}
	if s.vm != nil {
		s.vm.Close()
	}
	s.block.Free()
}

// Result is what a sweep found. Offsets are into its buffer.
type Result struct {
	Next             int // the first record that was not looked at
	Start, End       int // the first run of records that match, empty if none did
	Packets, Matched int
}

// Sweep walks the records of buf from offset from on, until the first run of
// records that match has ended, or up to a record that does not lie whole in
// buf or is too long. The buffer stays pinned until another is given or Close.
func (s *Sweeper) Sweep(buf []byte, from int) (Result, error) {
	if len(buf)-from < recordHeader {
		return Result{Next: from}, nil
	}
	if first := unsafe.SliceData(buf); first != s.buf {
		s.pin.Unpin()
		s.pin.Pin(first)
		s.buf = first
	}
	base := uint64(uintptr(unsafe.Pointer(s.buf)))
	*s.state = state{cursor: base + uint64(from), end: base + uint64(len(buf))}
	if _, err := s.vm.Run(s.prog, s.block.Addr(), jit.Limits{}); err != nil {
		return Result{}, err
	}
	r := Result{Next: int(s.state.cursor - base), Packets: int(s.state.packets), Matched: int(s.state.matched)}
	if s.state.runEnd != 0 {
		r.Start, r.End = int(s.state.runStart-base), int(s.state.runEnd-base)
	}
	return r, nil
}

// Registers of a sweep, besides those of the translated program: A in r0, X in
// r7, the state where its context was.
const (
	regState  = isa.R6
	regPacket = isa.R8
	regEnd    = isa.R9 // of the packet, where the next record begins
)
