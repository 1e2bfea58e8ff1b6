package verifier

import (
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/isa"
)

// chain is a chain of calls being measured.
type chain struct {
	subs  []int // functions, outermost first
	depth int   // bytes of stack of all of them
	inCB  bool  // one of them is a callback
}

// checkStackDepths bounds the stack of every chain of calls by 512 bytes and
// its length by 8 frames (check_max_stack_depth).
func (e *env) checkStackDepths() *Error {
	e.spreadTailCalls()
	for i := len(e.subs) - 1; i >= 0; i-- {
		if i == 0 || e.subs[i].isAsyncCB {
			// worst remembers the worst chains that led to each function: what
			// is no worse needs no second walk, else calls of calls would take
			// exponential time.
			worst := make([]chain, len(e.subs))
			if err := e.measure(i, chain{}, worst); err != nil {
				return err
			}
		}
	}
	return nil
}

func roundDepth(n int) int { return (n + 15) &^ 15 }

// measure enters function idx at the end of chain c.
func (e *env) measure(idx int, c chain, worst []chain) *Error {
	s := &e.subs[idx]
	e.insn = s.start
	c.inCB = c.inCB || s.isCB
	if s.hasLDAbs && c.inCB {
		return e.refuse(errno.EINVAL, "cannot use BPF_LD_[ABS|IND] within callback")
	}
	if idx != 0 && s.hasTail && c.depth >= 256 {
		return e.refuse(errno.EACCES, "tail_calls are not allowed when call stack of previous frames is %d bytes. Too large", c.depth)
	}
	own := roundDepth(s.stackDepth)
	c.subs = append(c.subs, idx)
	if e.facts.privateStack {
		if own > isa.StackSize {
			return e.refuse(errno.EACCES, "stack size of subprog %d is %d. Too large", idx, own)
		}
	} else if c.depth += own; c.depth > isa.StackSize {
		return e.refuse(errno.EACCES, "combined stack size of %d calls is %d. Too large", len(c.subs), c.depth)
	}
	w := &worst[idx]
	if len(w.subs) >= len(c.subs) && w.depth >= c.depth && (w.inCB || !c.inCB) {
		return nil
	}
	*w = chain{subs: c.subs, depth: c.depth, inCB: c.inCB}
	for i := s.start; i < s.end; i++ {
		ins := e.insns[i]
		if k := e.aux[i].kfunc; k != nil && k.throws && c.inCB {
			e.insn = i
			return e.refuse(errno.EINVAL, "bpf_throw kfunc (insn %d) cannot be called from callback subprog %d", i, idx)
		}
		if !ins.IsLocalCall() && !isPseudoFunc(ins) {
			continue
		}
		e.insn = i
		callee := e.subprogAt(i + int(ins.Imm) + 1)
		if t := &e.subs[callee]; t.isAsyncCB {
			if t.hasTail {
				return e.refuse(errno.EFAULT, "verifier bug. subprog has tail_call and async cb")
			}
			if !ins.IsLocalCall() {
				continue // runs on a stack of its own
			}
			if t.isException {
				return e.refuse(errno.EINVAL, "insn %d cannot call exception cb directly", i)
			}
		}
		if len(c.subs) >= isa.MaxCallFrames {
			return e.refuse(errno.E2BIG, "the call stack of %d frames is too deep !", len(c.subs))
		}
		if err := e.measure(callee, c, worst); err != nil {
			return err
		}
	}
	if s.isException && s.tailReach {
		return e.refuse(errno.EINVAL, "cannot tail call within exception cb")
	}
	return nil
}

// spreadTailCalls marks every function from which a tail call can be reached.
func (e *env) spreadTailCalls() {
	for again := true; again; {
		again = false
		for i := range e.subs {
			s := &e.subs[i]
			for at := s.start; at < s.end && !s.tailReach; at++ {
				ins := e.insns[at]
				if ins.IsLocalCall() || isPseudoFunc(ins) {
					if c := e.subprogAt(at + int(ins.Imm) + 1); e.subs[c].tailReach {
						s.tailReach, again = true, true
					}
				}
			}
		}
	}
}
