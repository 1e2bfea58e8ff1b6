package verifier

import (
	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/isa"
)

const (
	regSize  = 8 // bytes of a register or stack slot
	maxSlots = isa.StackSize / regSize
)

// byteKind is what is known of one byte of stack (enum bpf_stack_slot_type).
type byteKind uint8

const (
	byteInvalid byteKind = iota // never written
	byteSpill                   // part of a spilled register
	byteMisc                    // some number
	byteZero                    // zero
	byteDynptr
	byteIter
	byteIRQ // saved interrupt flags
)

const byteChars = "?rm0dif"

// slot is eight bytes of stack. Byte i of kind is the byte at address
// frame pointer - 8*(index+1) + i read from the top: kind[7] is the lowest
// address, as programs spill the low bytes of a register there.
//
//	address   fp-8  fp-7  fp-6  fp-5  fp-4  fp-3  fp-2  fp-1
//	kind       [7]   [6]   [5]   [4]   [3]   [2]   [1]   [0]
type slot struct {
	reg  reg
	kind [regSize]byteKind
}

// top is the kind that decides what the slot as a whole is.
func (s *slot) top() byteKind { return s.kind[regSize-1] }

func (s *slot) isSpill() bool       { return s.top() == byteSpill }
func (s *slot) isSpillScalar() bool { return s.top() == byteSpill && s.reg.typ == scalarValue }

// isSpillScalar64 reports whether all eight bytes are one spilled number.
func (s *slot) isSpillScalar64() bool { return s.kind[0] == byteSpill && s.reg.typ == scalarValue }

func (s *slot) isSpecial() bool {
	switch s.top() {
	case byteSpill, byteDynptr, byteIter, byteIRQ:
		return true
	}
	return false
}

func (s *slot) setAll(k byteKind) {
	for i := range s.kind {
		s.kind[i] = k
	}
}

// scrub forgets what a special slot held: its bytes are just bytes.
func (s *slot) scrub() {
	if s.isSpecial() {
		for i, k := range s.kind {
			if k != byteInvalid {
				s.kind[i] = byteMisc
			}
		}
	}
	s.reg.typ = notInit
}

// callSite of a frame that nobody in this program called.
const noCallSite = -1

// frame is one function's registers and stack (struct bpf_func_state).
type frame struct {
	regs  [isa.RFP + 1]reg
	stack []slot // index 0 is fp-8

	callSite int32 // slot of the call instruction in the caller, or noCallSite
	no       int32 // depth
	subprog  int32

	asyncEntry    uint32 // how many async callbacks led here
	callbackDepth uint32 // times the callback of the current call was simulated
	ret           catalog.Range
	inCallback    bool
	inAsync       bool
	inException   bool
}

// refKind is what a reference is to.
type refKind uint8

const (
	refPtr  refKind = iota // an acquired object
	refLock                // bpf_spin_lock
	refResLock
	refResLockIRQ
	refIRQ
)

// ref is something acquired that must be given back.
type ref struct {
	kind refKind
	id   uint32
	insn int32
	obj  any // locks: the map or BTF the lock lies in
}

// histEntry remembers that the path went through an instruction in a way that
// cannot be told from the code alone: reached by a jump, touched a stack slot,
// or learnt something about linked registers. Newest first; entries are never
// changed once another state shares them.
type histEntry struct {
	prev    *histEntry
	idx     int32
	prevIdx int32
	flags   histFlags
	linked  linkedRegs
}

type histFlags uint16

// Flags of a histEntry, with frame and slot number of a stack access below them.
//
//	bits 0–2: frame   3–8: slot   9: stack access   10, 11: operand is a stack pointer
const (
	histStack  histFlags = 1 << 9
	histDstPtr histFlags = 1 << 10
	histSrcPtr histFlags = 1 << 11
)

func histStackAccess(frame, spi int) histFlags {
	return histStack | histFlags(spi)<<3 | histFlags(frame)
}

func (f histFlags) slot() (frame, spi int) { return int(f & 7), int(f >> 3 & 63) }

// state is the whole abstract machine at one point of one path (struct bpf_verifier_state).
type state struct {
	frames [isa.MaxCallFrames]*frame
	cur    int // index of the current frame

	refs        []ref
	activeLocks int
	lockID      uint32
	lockObj     any
	preempt     int
	irqID       uint32
	rcuLock     bool
	inSleepable bool
	speculative bool

	// The tree of paths.
	parent   *state
	branches int   // paths from here not yet followed to their end
	insn     int32 // where a remembered state was taken
	first    int32 // first instruction since parent
	last     int32 // instruction before the current one
	hist     *histEntry
	histLen  int
	recorded int32 // the historian's step it is at, counted from 1; 0: none

	dfsDepth      int
	mayGotoDepth  int
	callbackDepth int // callbacks simulated on the way here

	// Of a remembered state.
	hits, misses int
	dropped      bool // taken off the list, kept for its children
	cleaned      bool
}

func (s *state) frame() *frame           { return s.frames[s.cur] }
func (s *state) regs() *[isa.RFP + 1]reg { return &s.frames[s.cur].regs }

// eachReg calls f on every register and spilled register of all frames.
func (s *state) eachReg(f func(r *reg)) {
	for i := 0; i <= s.cur; i++ {
		fr := s.frames[i]
		for j := range fr.regs {
			f(&fr.regs[j])
		}
		for j := range fr.stack {
			if fr.stack[j].isSpill() {
				f(&fr.stack[j].reg)
			}
		}
	}
}

// sameCallSites reports whether a and b are the same chain of calls.
func sameCallSites(a, b *state) bool {
	if a.cur != b.cur {
		return false
	}
	for i := a.cur; i >= 0; i-- {
		if a.frames[i].callSite != b.frames[i].callSite {
			return false
		}
	}
	return true
}

// insnOf is where frame i of s stands: s.insn for the last, the call for others.
func (s *state) insnOf(i int) int32 {
	if i == s.cur {
		return s.insn
	}
	return s.frames[i+1].callSite
}

// pool recycles states and frames: a long verification makes millions.
type pool struct {
	states []*state
	frames []*frame
	fresh  []frame       // of a block, not used yet
	hist   []histEntry   // of a block, not used yet
	blocks [][]histEntry // all there are; the first used are in use
	used   int
	bytes  int64 // held by remembered states, roughly
}

func (p *pool) newFrame() *frame {
	f := p.anyFrame()
	*f = frame{stack: f.stack[:0]}
	return f
}

// anyFrame is a frame to copy another one to: what is in it is old.
func (p *pool) anyFrame() *frame {
	if n := len(p.frames); n > 0 {
		f := p.frames[n-1]
		p.frames = p.frames[:n-1]
		return f
	}
	if len(p.fresh) == 0 {
		p.fresh = make([]frame, 8)
	}
	f := &p.fresh[0]
	p.fresh = p.fresh[1:]
	return f
}

func (p *pool) freeFrame(f *frame) { p.frames = append(p.frames, f) }

func (p *pool) newState() *state {
	if n := len(p.states); n > 0 {
		s := p.states[n-1]
		p.states = p.states[:n-1]
		refs := s.refs[:0]
		*s = state{refs: refs}
		return s
	}
	return &state{}
}

func (p *pool) freeState(s *state) {
	for i := 0; i <= s.cur; i++ {
		if s.frames[i] != nil {
			p.freeFrame(s.frames[i])
			s.frames[i] = nil
		}
	}
	s.parent, s.hist, s.lockObj = nil, nil, nil
	p.states = append(p.states, s)
}

func (f *frame) copyFrom(src *frame) {
	stack := append(f.stack[:0], src.stack...)
	*f = *src
	f.stack = stack
}

// clone copies s whole.
func (p *pool) clone(s *state) *state {
	d := p.newState()
	refs := append(d.refs, s.refs...)
	*d = *s
	d.refs = refs
	for i := range d.frames {
		d.frames[i] = nil
	}
	for i := 0; i <= s.cur; i++ {
		d.frames[i] = p.anyFrame()
		d.frames[i].copyFrom(s.frames[i])
	}
	return d
}

func (s *state) size() int64 {
	n := int64(512)
	for i := 0; i <= s.cur; i++ {
		n += 11*144 + 64 + int64(len(s.frames[i].stack))*152
	}
	return n
}

// newHist allocates history entries in blocks.
func (p *pool) newHist() *histEntry {
	if len(p.hist) == 0 {
		if p.used == len(p.blocks) {
			p.blocks = append(p.blocks, make([]histEntry, 256))
		}
		p.hist = p.blocks[p.used]
		p.used++
	}
	h := &p.hist[0]
	p.hist = p.hist[1:]
	*h = histEntry{}
	return h
}

// maxKeptHist bounds the history blocks that are kept.
const maxKeptHist = 256

// reuseHist makes all history entries free.
func (p *pool) reuseHist() {
	if len(p.blocks) > maxKeptHist {
		clear(p.blocks[maxKeptHist:])
		p.blocks = p.blocks[:maxKeptHist]
	}
	p.hist, p.used = nil, 0
}

// linkedReg names one register or slot; linkedRegs a few that share a scalar id.
type linkedReg struct {
	frame uint8
	index uint8 // register, or slot
	isReg bool
}

const maxLinked = 6

type linkedRegs struct {
	n uint8
	r [maxLinked]linkedReg
}
