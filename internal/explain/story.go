package explain

import (
	"regexp"
	"strconv"
	"strings"

	"github.com/cilium/ebpf/btf"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/verifier"
	"github.com/skep-bpf/skep/isa"
)

// story looks back over the path to a refusal.
type story struct {
	h       *verifier.History
	p       *verifier.Program
	insns   []isa.Instruction
	kind    *catalog.ProgKind
	printer isa.Printer

	now   int // the last moment, -1 if there is none
	notes map[int][]Note
	x     *Explanation
}

func newStory(h *verifier.History) *story {
	s := &story{
		h: h, p: h.Program, insns: h.Program.Insns, now: len(h.Steps) - 1,
		kind: catalog.ProgKindByType(h.Program.Type), notes: map[int][]Note{},
	}
	s.printer.Dialect = isa.Kernel
	s.printer.Names.Helper = func(id int32) string { return catalog.HelperID(id).String() }
	s.printer.Names.Kfunc = func(id int32, _ int16) string { return s.kfunc(id) }
	s.x = &Explanation{Errno: h.Err.Errno.Name(), Reason: h.Err.Msg, At: s.placeAt(h.Err.Slot)}
	if s.x.Reason == "" {
		s.x.Reason = h.Err.Reason
	}
	return s
}

// placeAt is where a slot is; placeOf, where a moment is.
func (s *story) placeAt(slot int) Place {
	p := Place{Insn: slot}
	if slot < 0 || slot >= len(s.insns) {
		p.Insn = -1
		return p
	}
	p.Asm = s.printer.Text(s.insns, slot)
	if name := s.callee(s.insns[slot], slot); s.insns[slot].IsKfuncCall() && name != "" {
		p.Asm = "(85) call " + name // without its number, which differs from kernel to kernel
	}
	for i := range s.p.Lines {
		l := &s.p.Lines[i]
		if l.Slot > slot {
			break
		}
		p.File, p.Line, p.Column, p.Source = l.File, l.LineNo, l.Column, l.Line
	}
	return p
}

func (s *story) placeOf(at int) Place {
	if at < 0 || at > s.now {
		return s.x.At
	}
	return s.placeAt(s.h.Steps[at].Slot)
}

func (s *story) insn(at int) isa.Instruction { return s.insns[s.h.Steps[at].Slot] }

func (s *story) depth(at int) int { return len(s.h.Steps[at].Frames) - 1 }

// here is the place of register n where the refusal was.
func (s *story) here(n int) spot { return spot{frame: s.depth(s.now), index: n} }

// reg is what register n was known to be when the program was refused; nil without a path.
func (s *story) reg(n int) *verifier.Value {
	if s.now < 0 || n < 0 || n > 10 {
		return nil
	}
	return s.value(s.now, s.here(n))
}

var regInMsg = regexp.MustCompile(`\bR(\d+)\b`)

// blamed is the register the refusal is about, or -1.
func (s *story) blamed() int {
	if s.now < 0 {
		return -1
	}
	if m := regInMsg.FindStringSubmatch(s.h.Err.Msg); m != nil {
		n, _ := strconv.Atoi(m[1])
		if n <= 10 {
			return n
		}
	}
	for _, re := range []struct {
		re  *regexp.Regexp
		add int
	}{
		{regexp.MustCompile(`(?:helper|trusted) arg(\d+)`), 0}, {regexp.MustCompile(`(?:helper|trusted) ?arg(\d+)`), 0},
		{regexp.MustCompile(`args?#(\d+)`), 1},
	} {
		if m := re.re.FindStringSubmatch(s.h.Err.Msg); m != nil {
			n, _ := strconv.Atoi(m[1])
			if n += re.add; strings.Contains(s.h.Err.Msg, "trusted arg") || strings.Contains(s.h.Err.Msg, "arg #") {
				n++
			}
			return min(n, 5)
		}
	}
	if m := regexp.MustCompile(`^arg (\d+) is an unacquired`).FindStringSubmatch(s.h.Err.Msg); m != nil {
		n, _ := strconv.Atoi(m[1])
		return min(n, 5)
	}
	if m := regexp.MustCompile(`as arg #(\d+)`).FindStringSubmatch(s.h.Err.Msg); m != nil {
		n, _ := strconv.Atoi(m[1])
		return min(n+1, 5)
	}
	switch ins := s.insn(s.now); {
	case ins.IsExit():
		return 0
	case ins.IsHelperCall() && s.isRelease(ins, s.h.Steps[s.now].Slot), ins.IsKfuncCall() && s.isRelease(ins, s.h.Steps[s.now].Slot):
		return 1
	}
	switch ins := s.insn(s.now); ins.Op.Class() {
	case isa.ClassLDX:
		return int(ins.Src)
	case isa.ClassST, isa.ClassSTX, isa.ClassALU, isa.ClassALU64:
		return int(ins.Dst)
	}
	return -1
}

// callee names what a call instruction calls: "bpf_map_lookup_elem".
func (s *story) callee(ins isa.Instruction, slot int) string {
	switch {
	case ins.IsHelperCall():
		return catalog.HelperID(ins.Imm).String()
	case ins.IsKfuncCall():
		return s.kfunc(ins.Imm)
	case ins.IsLocalCall():
		return s.function(slot + 1 + int(ins.Imm))
	}
	return ""
}

func (s *story) calleeAt(at int) string { return s.callee(s.insn(at), s.h.Steps[at].Slot) }

func (s *story) kfuncProto(id int32) (string, *btf.FuncProto) {
	if s.p.KernelBTF == nil {
		return "", nil
	}
	t, err := s.p.KernelBTF.TypeByID(btf.TypeID(id))
	if err != nil {
		return "", nil
	}
	fn, ok := t.(*btf.Func)
	if !ok {
		return "", nil
	}
	proto, _ := fn.Type.(*btf.FuncProto)
	return fn.Name, proto
}

func (s *story) kfunc(id int32) string {
	name, _ := s.kfuncProto(id)
	return name
}

// function names the subprogram that starts at a slot.
func (s *story) function(slot int) string {
	for i := range s.p.Funcs {
		if s.p.Funcs[i].Slot == slot {
			return s.p.Funcs[i].Func.Name
		}
	}
	return "the function at insn " + strconv.Itoa(slot)
}

// functionOf names the function that a moment is in.
func (s *story) functionOf(at int) string {
	f := s.h.Steps[at].Frames[s.depth(at)]
	if f.Subprog < len(s.h.Subs) {
		return s.function(s.h.Subs[f.Subprog].Start)
	}
	return "this function"
}

// leave is how this program, or function, can be left early.
func (s *story) leave() string {
	if s.now >= 0 && s.depth(s.now) > 0 || s.now >= 0 && s.h.Steps[s.now].Frames[0].Subprog > 0 {
		return "return 0;"
	}
	switch s.p.Type {
	case catalog.ProgXDP:
		return "return XDP_PASS;"
	case catalog.ProgSchedCls:
		return "return TC_ACT_OK;"
	}
	return "return 0;"
}

var (
	assignment = regexp.MustCompile(`([A-Za-z_][\w.\[\]]*(?:->[\w.\[\]]+)*)\s*=\s*[^=]`)
	identifier = regexp.MustCompile(`^[A-Za-z_]\w*`)
)

// assigned is the variable that a place's line assigns to before its column, "" if it cannot be told.
func (p Place) assigned() string {
	line := p.Source
	if i := strings.Index(line, "//"); i >= 0 {
		line = line[:i]
	}
	// "a[i] = …" and "x->y = …" are names too; "<=", "+=" and the like never match.
	name, n := "", 0
	for _, m := range assignment.FindAllStringSubmatchIndex(line, -1) {
		if p.Column == 0 || m[2] < p.Column {
			name = line[m[2]:m[3]]
		}
		n++
	}
	if p.Column == 0 && n > 1 {
		return ""
	}
	return name
}

// callInLine matches a call in a line of C.
var callInLine = regexp.MustCompile(`\w\(`)

// base is the variable through which a place's line accesses memory at its
// column: p of "p->field" and "p[i]"; "" if it cannot be told.
func (p Place) base() string {
	if p.Column < 1 || p.Column > len(p.Source) || inlineAsm(p) {
		return ""
	}
	before, at := p.Source[:p.Column-1], p.Source[p.Column-1:]
	id := identifier.FindString(at)
	if rest, ok := strings.CutSuffix(before, "->"); ok {
		i := len(rest)
		for i > 0 && (rest[i-1] == '_' || rest[i-1] >= '0' && rest[i-1] <= '9' || rest[i-1] >= 'a' && rest[i-1] <= 'z' || rest[i-1] >= 'A' && rest[i-1] <= 'Z') {
			i--
		}
		if i > 0 && (rest[i-1] == '>' || rest[i-1] == '.') {
			return "" // a member of a member
		}
		return identifier.FindString(rest[i:])
	}
	if id != "" && (strings.HasPrefix(at[len(id):], "[") || strings.HasPrefix(at[len(id):], "->")) && !strings.HasSuffix(before, ".") {
		return id
	}
	return ""
}

// argument is argument n of the call of callee in a line of C, as it stands there; "" if it cannot be told.
func argument(line, callee string, n int) string {
	_, rest, ok := strings.Cut(line, callee+"(")
	if !ok {
		return ""
	}
	depth, arg := 0, 1
	var b strings.Builder
	for _, c := range rest {
		switch {
		case c == '(' || c == '[' || c == '{':
			depth++
		case c == ')' && depth == 0:
			if arg == n {
				return strings.TrimSpace(b.String())
			}
			return ""
		case c == ')' || c == ']' || c == '}':
			depth--
		case c == ',' && depth == 0:
			if arg == n {
				return strings.TrimSpace(b.String())
			}
			arg++
			continue
		}
		if arg == n {
			b.WriteRune(c)
		}
	}
	return ""
}
