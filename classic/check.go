package classic

import (
	"errors"
	"fmt"
)

// What is wrong with a program, for errors.Is.
var (
	ErrLength     = errors.New("bad program length")
	ErrCode       = errors.New("unknown instruction")
	ErrJump       = errors.New("jump out of the program")
	ErrDivision   = errors.New("division by zero")
	ErrShift      = errors.New("shift too far")
	ErrScratch    = errors.New("no such scratch slot")
	ErrUnwritten  = errors.New("scratch slot read before it is written")
	ErrAncillary  = errors.New("unknown ancillary data")
	ErrOffset     = errors.New("load outside struct seccomp_data")
	ErrUnfinished = errors.New("program does not end with ret")
)

// CheckError says which instruction breaks which rule.
type CheckError struct {
	Insn   int   // index of the instruction; -1 for the program as a whole
	Err    error // one of the package's sentinels
	Reason string
}

func (e *CheckError) Error() string {
	if e.Insn < 0 {
		return fmt.Sprintf("%v: %s", e.Err, e.Reason)
	}
	return fmt.Sprintf("instruction %d: %v: %s", e.Insn, e.Err, e.Reason)
}

// Unwrap returns the sentinel.
func (e *CheckError) Unwrap() error { return e.Err }

// maxLibpcap bounds programs for [Libpcap], which sets no limit itself: it is
// what the index of a [VM]'s step can count.
const maxLibpcap = 1 << 16

// Check reports whether the machine takes the program. Its error is a
// *CheckError for the first instruction at fault. What passes never reads
// outside the packet and, but for [Libpcap]'s backward jumps, ends within as
// many steps as it has instructions.
//
// The kernel refuses a few programs more, for reasons outside the program: too
// little socket memory, or more than 32767 of its own instructions between a
// jump and its target.
func Check(prog []Instruction, m Machine) error {
	limit := MaxInstructions
	if m == Libpcap {
		limit = maxLibpcap
	}
	if len(prog) == 0 || len(prog) > limit {
		return &CheckError{-1, ErrLength, fmt.Sprintf("%d instructions; there must be 1 to %d", len(prog), limit)}
	}
	for pc, ins := range prog {
		if reason, err := checkOne(prog, pc, ins, m); err != nil {
			return &CheckError{pc, err, reason}
		}
	}
	last := len(prog) - 1
	if prog[last].Class() != RET {
		return &CheckError{last, ErrUnfinished, fmt.Sprintf("the last instruction is %s", Text(prog, last))}
	}
	if m == Libpcap {
		return nil
	}
	return checkScratch(prog)
}

// checkOne judges one instruction by itself.
func checkOne(prog []Instruction, pc int, ins Instruction, m Machine) (reason string, err error) {
	row := ins.Row()
	if row == nil {
		return fmt.Sprintf("code %#x", ins.Code), ErrCode
	}
	if row.In&m == 0 {
		return fmt.Sprintf("%s (code %#x) is not for %v", Text(prog, pc), ins.Code, m), ErrCode
	}
	k := ins.K
	switch row.K {
	case Divisor:
		if k == 0 {
			return Text(prog, pc), ErrDivision
		}
	case Shift:
		if k >= 32 && m != Libpcap {
			return fmt.Sprintf("by %d of 32 bits", k), ErrShift
		}
	case Slot:
		if k >= MemWords {
			return fmt.Sprintf("M[%d]; there are %d", k, MemWords), ErrScratch
		}
	case Offset:
		if m == Seccomp && (k >= SeccompDataSize || k%4 != 0) {
			return fmt.Sprintf("offset %d; words of %d bytes at multiples of 4", k, SeccompDataSize), ErrOffset
		}
		if m == Socket && k >= AncillaryOffset && ancillaryOf(k) == nil {
			return fmt.Sprintf("offset %#x", k), ErrAncillary
		}
	case Distance:
		if target := jumpTarget(pc, k); target < 0 || target >= len(prog) || target <= pc && m != Libpcap {
			return fmt.Sprintf("to %d of %d", target, len(prog)), ErrJump
		}
	}
	if row.conditional() {
		for _, by := range [...]uint8{ins.Jt, ins.Jf} {
			if target := pc + 1 + int(by); target >= len(prog) {
				return fmt.Sprintf("to %d of %d", target, len(prog)), ErrJump
			}
		}
	}
	return "", nil
}

// jumpTarget is where ja at pc goes. Its distance is signed for libpcap; where
// it may only go forward, a negative one is too far in either reading.
func jumpTarget(pc int, k uint32) int { return pc + 1 + int(int32(k)) }

// checkScratch finds reads of scratch slots that no write precedes on some
// path. Since jumps go forward, one pass sees every instruction after all those
// that lead to it: written[pc] is what holds on every path to pc.
//
// Like the kernel, it lets what follows ret inherit what held before it, and
// takes every slot as written behind a jump that nothing else leads to.
func checkScratch(prog []Instruction) error {
	const everything = 1<<MemWords - 1
	written := make([]uint16, len(prog))
	for i := range written {
		written[i] = everything
	}
	now := uint16(0)
	for pc, ins := range prog {
		now &= written[pc]
		row := ins.Row()
		switch {
		case ins.Code == ST || ins.Code == STX:
			now |= 1 << ins.K
		case row.Form == FormMem:
			if now&(1<<ins.K) == 0 {
				return &CheckError{pc, ErrUnwritten, fmt.Sprintf("M[%d]", ins.K)}
			}
		case row.Form == FormLabel:
			written[jumpTarget(pc, ins.K)] &= now
			now = everything
		case row.conditional():
			written[pc+1+int(ins.Jt)] &= now
			written[pc+1+int(ins.Jf)] &= now
			now = everything
		}
	}
	return nil
}
