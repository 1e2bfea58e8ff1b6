package verifier

import (
	"fmt"
	"math"
	"path"
	"strings"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/isa"
)

// Log levels (BPF_LOG_LEVEL1, BPF_LOG_LEVEL2, BPF_LOG_STATS).
const (
	logLevel1 = 1
	logLevel2 = 2
	logStats  = 4
)

// logger writes the log in the kernel's words. Nothing is formatted unless a
// level asks for it.
type logger struct {
	any, level12, level2, stats bool

	buf  []byte
	base int // position of buf[0]
	most int // the furthest position truncate has seen

	prevLine         *LineInfo
	prevPos, prevLen int // of the instruction printed last, to append its state to
	scratchRegs      uint32
	scratchSlots     uint64
	lines            []LineInfo
}

// maxLog bounds the memory of a log, in bytes; of a longer one the oldest half is dropped.
const maxLog = 64 << 20

func (l *logger) init(e *env, level uint32) {
	l.any = level != 0
	l.level12 = level&(logLevel1|logLevel2) != 0
	l.level2 = level&logLevel2 != 0
	l.stats = level&logStats != 0
	l.lines = e.p.Lines
	l.prevPos = -1
}

func (l *logger) pos() int { return l.base + len(l.buf) }

func (l *logger) String() string { return string(l.buf) }

func (l *logger) logf(format string, args ...any) {
	if l.any {
		l.buf = fmt.Appendf(l.buf, format, args...)
		if len(l.buf) > maxLog {
			l.base += maxLog / 2
			l.buf = append(l.buf[:0], l.buf[maxLog/2:]...)
		}
	}
}

// truncate forgets what was written from position pos on: at level 1 a path
// that turned out safe leaves no trace.
func (l *logger) truncate(pos int) {
	l.most = max(l.most, l.pos())
	l.buf = l.buf[:max(0, min(pos-l.base, len(l.buf)))]
}

// lineAt returns the line_info record that covers slot.
func (l *logger) lineAt(slot int) *LineInfo {
	lo, hi := 0, len(l.lines)
	for lo < hi {
		if m := (lo + hi) / 2; l.lines[m].Slot <= slot {
			lo = m + 1
		} else {
			hi = m
		}
	}
	if lo == 0 {
		if len(l.lines) == 0 {
			return nil
		}
		return &l.lines[0]
	}
	return &l.lines[lo-1]
}

// logLine prints the source line of slot after a prefix, unless it was the last printed.
func (l *logger) logLine(slot int, prefix string, args ...any) {
	if !l.any {
		return
	}
	li := l.lineAt(slot)
	if li == nil || li == l.prevLine {
		return
	}
	if p := l.prevLine; p != nil && p.File == li.File && p.LineNo == li.LineNo {
		return
	}
	l.logf(prefix, args...)
	l.logf("%s @ %s:%d\n", strings.TrimLeft(li.Line, " \t\n\v\f\r"), path.Base(li.File), li.LineNo)
	l.prevLine = li
}

func (l *logger) scratchReg(r isa.Register) { l.scratchRegs |= 1 << r }

func (l *logger) scratchSlot(i int) { l.scratchSlots |= 1 << i }

func (l *logger) scratchAll() { l.scratchRegs, l.scratchSlots = ^uint32(0), ^uint64(0) }

func (l *logger) scratched() bool {
	return l.scratchRegs|uint32(l.scratchSlots)|uint32(l.scratchSlots>>32) != 0
}

func invariantLine(r *reg, ctx, what string) string {
	return fmt.Sprintf("REG INVARIANTS VIOLATION (%s): %s u64=[%#x, %#x] s64=[%#x, %#x] u32=[%#x, %#x] s32=[%#x, %#x] var_off=(%#x, %#x)",
		ctx, what, r.umin, r.umax, uint64(r.smin), uint64(r.smax), r.u32min, r.u32max,
		uint32(r.s32min), uint32(r.s32max), r.bits.value, r.bits.mask)
}

// badRange refuses a return value outside its range (verbose_invalid_scalar).
func (e *env) badRange(r *reg, want catalog.Range, ctx, name string) *Error {
	s := fmt.Sprintf("%s the register %s has", ctx, name)
	if r.smin == math.MinInt64 && r.smax == math.MaxInt64 {
		s += " unknown scalar value"
	}
	if r.smin > math.MinInt64 {
		s += fmt.Sprintf(" smin=%d", r.smin)
	}
	if r.smax < math.MaxInt64 {
		s += fmt.Sprintf(" smax=%d", r.smax)
	}
	return e.refuse(errno.EINVAL, "%s should have been in [%d, %d]", s, want.Min, want.Max)
}

func (e *env) logLiveRegs() {
	e.logf("Live regs before insn:\n")
	for i := 0; i < len(e.insns); i++ {
		if n := e.aux[i].scc; n != 0 && n < firstCallLoop {
			e.logf("%3d ", n)
		} else {
			e.logf("    ")
		}
		e.logf("%3d: ", i)
		for r := 0; r < 10; r++ {
			if e.aux[i].live&(1<<r) != 0 {
				e.logf("%d", r)
			} else {
				e.logf(".")
			}
		}
		e.logf(" %s\n", e.disasm(i))
		if e.insns[i].IsLoadImm64() {
			i++
		}
	}
}

// logStats prints the log's last lines.
func (e *env) logStats() {
	if !e.any {
		return
	}
	if e.stats {
		e.logf("verification time 0 usec\nstack depth ")
		for i, depth := range e.keptDepths() {
			if i > 0 {
				e.logf("+")
			}
			e.logf("%d", depth)
		}
		e.logf("\n")
	}
	e.logf("processed %d insns (limit %d) max_states_per_insn %d total_states %d peak_states %d mark_read %d\n",
		e.insnProcessed, e.o.InsnLimit, e.maxPerInsn, e.totalStates, e.peakStates, 0)
}

// keptDepths are the stack depths of the functions that the kernel keeps: of an
// accepted program those that were reached, with what is added to them.
func (e *env) keptDepths() (depths []int) {
	if len(e.subs) == 0 {
		return []int{0}
	}
	for i := range e.subs {
		s := &e.subs[i]
		if e.accepted && e.capable && i > 0 && !e.aux[s.start].seen {
			continue
		}
		depths = append(depths, s.stackDepth+e.addedDepth(s))
	}
	if e.accepted && e.seenException && e.exceptionCB == 0 {
		depths = append(depths, 0) // of the kernel's own callback
	}
	return depths
}

// addedDepth is the stack that the kernel's rewriting of an accepted program adds to a function's.
func (e *env) addedDepth(s *subprog) int {
	loops, counts := 0, 0
	for at := s.start; e.accepted && at < s.end; at++ {
		switch a := &e.aux[at]; {
		case a.plainLoop:
			loops = loopRegs + (regSize-s.stackDepth%regSize)%regSize
		case a.seen && isMayGoto(e.insns[at]) && e.insns[at].Off != 0:
			counts = mayGotoSlot
		}
	}
	return loops + counts
}

// loopRegs is what an inlined bpf_loop saves, in bytes: three registers.
const loopRegs = 3 * regSize

// mayGotoSlot is the stack that counting may_goto takes, in bytes: a count and a time.
const mayGotoSlot = 16
