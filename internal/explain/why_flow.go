package explain

import (
	"github.com/cilium/ebpf/btf"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/isa"
)

// whyLoop: a loop in which nothing changes.
func (s *story) whyLoop() {
	if s.now < 1 {
		return
	}
	slot := s.h.Steps[s.now].Slot
	first := -1
	for j := s.now - 1; j >= 0; j-- {
		if s.h.Steps[j].Slot == slot && s.depth(j) == s.depth(s.now) {
			first = j
			break
		}
	}
	if first < 0 {
		return
	}
	s.know("the path comes to insn %d again with everything as it was %d instructions before", slot, s.now-first)
	condition := -1
	for j := first; j < s.now; j++ {
		ins := s.insn(j)
		if !isJump(ins) || s.depth(j) != s.depth(s.now) {
			continue
		}
		if condition < 0 {
			condition = j
		}
		v := s.value(j, spot{frame: s.depth(j), index: int(ins.Dst)})
		if v == nil {
			continue
		}
		s.note(j, "this condition decides by %s, and the loop does not change that", s.what(v))
	}
	if condition < 0 {
		s.note(s.now, "the loop has no condition that could end it")
		s.fixAt(s.x.At, "", "Give the loop an end: count up to a constant (for (int i = 0; i < N; i++)), or use bpf_loop or bpf_for")
		return
	}
	if s.x.At.Line == 0 || s.placeOf(condition).Line != 0 {
		s.fixAt(s.placeOf(condition), "", "Change in the loop what this condition looks at, towards its end; or add a counter with a constant limit")
	}
}

// whyComplex: the verifier gave up.
func (s *story) whyComplex() {
	visits := s.h.Err.Visits
	back := -1
	for i, ins := range s.insns {
		if !ins.Op.Class().IsJump() || ins.Op.JumpOp() == isa.Call || ins.Op.JumpOp() == isa.Exit || ins.JumpOffset() >= 0 || i >= len(visits) {
			continue
		}
		if visits[i] > 1 && (back < 0 || visits[i] > visits[back]) {
			back = i
		}
	}
	s.know("%d instructions were processed", s.h.Err.Stats.InsnProcessed)
	if back < 0 {
		hot := 0
		for i, v := range visits {
			if v > visits[hot] {
				hot = i
			}
		}
		if len(visits) > 0 {
			s.know("the instruction visited most is %d, %d times", hot, visits[hot])
			p := s.placeAt(hot)
			s.x.Because = append(s.x.Because, Note{p, "most of the work is here: many paths come by"})
			s.fixAt(p, "", "Have fewer paths come by here: share code in a global function, which is followed once, or end paths earlier")
		}
		return
	}
	head := back + 1 + s.insns[back].JumpOffset()
	s.know("the loop at %s was followed %d times", s.placeAt(back), visits[back])
	s.x.Because = append(s.x.Because,
		Note{s.placeAt(head), "the loop begins here"},
		Note{s.placeAt(back), "and is repeated from here: each turn leaves a state that is unlike the ones before"})
	s.fixAt(s.placeAt(back), "", "Bound the loop lower, or make its body a callback of bpf_loop(), which is followed once however often it runs")
}

// whyTailCall: a tail call in a function that cannot have one.
func (s *story) whyTailCall() {
	for slot, ins := range s.insns {
		if !ins.IsHelperCall() || catalog.HelperID(ins.Imm) != catalog.FnTailCall {
			continue
		}
		for i := len(s.p.Funcs) - 1; i >= 0; i-- {
			f := s.p.Funcs[i]
			if f.Slot > slot {
				continue
			}
			proto := protoOf(f.Func)
			if proto == nil || i == 0 {
				break
			}
			if _, void := proto.Return.(*btf.Void); !void {
				break
			}
			if s.x.At.Insn < 0 {
				s.x.At = s.placeAt(slot)
			}
			s.know("%s() calls bpf_tail_call() and returns void", f.Func.Name)
			s.fixAt(s.placeAt(f.Slot), "", "Let %s() return int: a tail call that succeeds returns, in its caller's eyes, what the other program returns", f.Func.Name)
			return
		}
	}
	s.fixAt(s.x.At, "", "%s", s.fixWords())
}

// whyParameters: a global function's parameters.
func (s *story) whyParameters() {
	s.fixAt(s.x.At, "", "%s", s.fixWords())
	if s.x.At.Insn < 0 {
		return
	}
	ins := s.insns[s.x.At.Insn]
	if !ins.IsLocalCall() {
		return
	}
	callee := s.x.At.Insn + 1 + int(ins.Imm)
	for i := range s.p.Funcs {
		if s.p.Funcs[i].Slot != callee {
			continue
		}
		if proto := protoOf(s.p.Funcs[i].Func); proto != nil {
			for n, p := range proto.Params {
				s.know("parameter %d of %s() is %s %s", n+1, s.p.Funcs[i].Func.Name, ctype(p.Type), p.Name)
			}
		}
		s.x.Because = append(s.x.Because, Note{s.placeAt(callee), "the function whose parameters are at fault"})
		s.fixAt(s.placeAt(callee), "", "%s", s.fixWords())
	}
}
