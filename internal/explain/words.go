package explain

import (
	"fmt"
	"math"
	"strings"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/verifier"
	"github.com/skep-bpf/skep/isa"
)

// what says in words what a value is: "a pointer to a value of map m (8 bytes), or NULL".
func (s *story) what(v *verifier.Value) string {
	if !v.Set() {
		return "nothing: it was never written"
	}
	if v.Scalar() {
		return number(v)
	}
	t := strings.TrimSuffix(s.pointer(v), " ")
	if v.Kind() != "pkt_end" && v.Kind() != "map_ptr" && v.Kind() != "func" {
		t += offset(v)
	}
	if v.MayBeNull() {
		t += ", or NULL"
	}
	return t
}

func (s *story) pointer(v *verifier.Value) string {
	switch v.Kind() {
	case "ctx":
		return "the context (" + s.contextName() + ")"
	case "map_ptr":
		return "the map " + mapName(v)
	case "map_value":
		m := v.Map()
		return fmt.Sprintf("a pointer to a value of map %s (%s)", mapName(v), bytes(int(m.ValueSize)))
	case "map_key":
		return fmt.Sprintf("a pointer to a key of map %s (%s)", mapName(v), bytes(int(v.Map().KeySize)))
	case "fp":
		if v.Frame() < s.depth(s.now) {
			return "a pointer to the caller's stack"
		}
		return "a pointer to the stack"
	case "pkt":
		return "a pointer into the packet"
	case "pkt_meta":
		return "a pointer into the packet's metadata"
	case "pkt_end":
		return "the end of the packet (data_end)"
	case "flow_keys":
		return "the flow keys"
	case "sock", "sock_common", "tcp_sock", "xdp_sock":
		return "a pointer to a socket (bpf_" + strings.TrimSuffix(v.Kind(), "_common") + ")"
	case "tp_buffer":
		return "the tracepoint's buffer"
	case "ptr_":
		switch {
		case strings.Contains(v.Type(), "untrusted"):
			return "an untrusted pointer to struct " + v.Struct()
		case strings.Contains(v.Type(), "rcu_"):
			return "an RCU-protected pointer to struct " + v.Struct()
		}
		return "a pointer to struct " + v.Struct()
	case "mem":
		if strings.Contains(v.Type(), "ringbuf") {
			return fmt.Sprintf("a ring buffer record of %s", bytes(v.Size()))
		}
		ro := ""
		if strings.Contains(v.Type(), "rdonly") {
			ro = "read-only "
		}
		return fmt.Sprintf("a pointer to %s of %smemory", bytes(v.Size()), ro)
	case "buf":
		if strings.Contains(v.Type(), "rdonly") {
			return "a pointer to a read-only buffer"
		}
		return "a pointer to a buffer"
	case "arena":
		return "a pointer into the arena"
	case "func":
		return "a function of the program"
	case "dynptr_ptr":
		return "a dynptr the kernel lends"
	}
	return "a " + v.Type()
}

// offset says how far a pointer was moved.
func offset(v *verifier.Value) string {
	if v.Kind() == "fp" {
		if v.Fixed() {
			if v.Offset() == 0 {
				return " (the frame pointer)"
			}
			return fmt.Sprintf(" (fp%+d)", v.Offset())
		}
		lo, hi := v.Signed()
		if lo == math.MinInt64 || hi == math.MaxInt64 {
			return fmt.Sprintf(" (fp%+d) plus %s", v.Off(), ranged(v))
		}
		return fmt.Sprintf(" (fp%+d to fp%+d)", int64(v.Off())+lo, int64(v.Off())+hi)
	}
	t := ""
	if v.Off() != 0 {
		t = fmt.Sprintf(" at offset %d", v.Off())
	}
	if v.Fixed() {
		if n := v.Offset() - v.Off(); n != 0 {
			return fmt.Sprintf(" at offset %d", v.Offset())
		}
		return t
	}
	return t + " plus " + ranged(v)
}

// number says what is known of a number.
func number(v *verifier.Value) string {
	if n, ok := v.Const(); ok {
		if int64(n) > 1<<32 {
			return fmt.Sprintf("the number %#x", n)
		}
		return fmt.Sprintf("the number %d", int64(n))
	}
	return ranged(v)
}

// ranged says between what a number, or the variable part of an offset, lies.
func ranged(v *verifier.Value) string {
	lo, hi := v.Signed()
	ulo, uhi := v.Unsigned()
	if hi > 1<<56 { // what shifts leave of no bound at all
		hi = math.MaxInt64
	}
	if uhi > 1<<56 {
		uhi = math.MaxUint64
	}
	switch {
	case lo >= 0 && hi < math.MaxInt64:
		return fmt.Sprintf("a number from %d to %s", ulo, big(uhi))
	case ulo == 0 && uhi == math.MaxUint64 && lo == math.MinInt64 && hi == math.MaxInt64:
		return "a number of which nothing is known"
	case lo == math.MinInt32 && hi == math.MaxInt32:
		return "any 32-bit signed number, negative ones too"
	case lo < 0 && hi < math.MaxInt64 && lo > math.MinInt64:
		return fmt.Sprintf("a signed number from %d to %s", lo, big(uint64(hi)))
	case lo < 0 && hi < math.MaxInt64:
		return fmt.Sprintf("a number that may be negative, at most %d", hi)
	case uhi < math.MaxUint64:
		return fmt.Sprintf("a number from %d to %s", ulo, big(uhi))
	case lo >= 0:
		return fmt.Sprintf("a number of at least %d, with no upper bound", lo)
	}
	return "a number that may be negative and has no upper bound"
}

// big prints powers of two less one as people know them.
func big(n uint64) string {
	switch n {
	case math.MaxUint32:
		return "4294967295 (any 32-bit number)"
	case math.MaxUint32 << 1, math.MaxUint32 << 2, math.MaxUint32 << 3:
		return fmt.Sprintf("%d", n)
	}
	if n > 1<<40 {
		return fmt.Sprintf("%#x", n)
	}
	return fmt.Sprint(n)
}

func bytes(n int) string {
	if n == 1 {
		return "1 byte"
	}
	return fmt.Sprintf("%d bytes", n)
}

// bytesAre is bytes with its verb.
func bytesAre(n int) string {
	if n == 1 {
		return "1 byte is"
	}
	return bytes(n) + " are"
}

func mapName(v *verifier.Value) string {
	if m := v.Map(); m != nil && m.Name != "" {
		return "`" + m.Name + "`"
	}
	return "without a name"
}

// contextName is the C type of the context.
func (s *story) contextName() string {
	if s.kind == nil || s.kind.Ctx == nil {
		return "context"
	}
	if s.kind.Ctx.Typed {
		return "the arguments of " + s.p.AttachTo
	}
	return "struct " + s.kind.Ctx.Name
}

// name finds what a value is called in C, by the line that made it.
func (s *story) name(at int, sp spot) string {
	if v := s.value(at, sp); v != nil && v.Kind() == "fp" {
		return "" // the line that computes an address tells little of what lies there
	}
	for _, e := range s.lineage(at, sp) {
		switch e.how {
		case began:
			return s.parameter(e.to)
		case called, loaded, computed, returned, named:
			if e.at < 0 {
				continue
			}
			p := s.placeOf(e.at)
			if f := s.h.Steps[e.at].Frames[s.depth(e.at)]; e.how == returned && f.CallSite >= 0 {
				p = s.placeAt(f.CallSite)
			}
			if e.how == called && !directly(p, s.calleeAt(e.at)) {
				return ""
			}
			if e.how != called && e.how != returned && callInLine.MatchString(p.Source) {
				continue // what is assigned is the call's result
			}
			if n := p.assigned(); n != "" && !strings.Contains(n, "[") {
				return n
			}
		}
		if e.how == called || e.how == loaded {
			break
		}
	}
	return ""
}

// nameOf is the name of register n at the refusal, by what made it or else by the line that uses it.
func (s *story) nameOf(n int) string {
	if name := s.name(s.now, s.here(n)); name != "" {
		return name
	}
	ins := s.insn(s.now)
	switch ins.Op.Class() {
	case isa.ClassLDX:
		if int(ins.Src) == n {
			return s.x.At.base()
		}
	case isa.ClassST, isa.ClassSTX:
		if int(ins.Dst) == n && n != 10 {
			return s.x.At.base()
		}
	}
	return ""
}

// directly reports whether a line of C assigns the result of a call of callee as it is.
func directly(p Place, callee string) bool {
	line := p.Source
	i := strings.Index(line, callee+"(")
	if p.Column > 0 && p.Column <= len(line) && strings.HasPrefix(line[p.Column-1:], callee) {
		i = p.Column - 1
	}
	if i < 0 {
		return callee == "" || strings.Contains(callee, " ") || !callInLine.MatchString(line)
	}
	before := strings.TrimRight(line[:i], " ")
	for strings.HasSuffix(before, ")") { // casts
		j := strings.LastIndex(before, "(")
		if j < 0 {
			return false
		}
		before = strings.TrimRight(before[:j], " ")
	}
	return strings.HasSuffix(before, "=")
}

// parameter is the name of the parameter that a register holds when the path
// begins, or a function of the program is called.
func (s *story) parameter(sp spot) string {
	if sp.slot || sp.index < 1 || sp.index > 5 || sp.frame >= len(s.h.Steps[0].Frames) {
		return ""
	}
	sub := s.h.Steps[0].Frames[sp.frame].Subprog
	if sub >= len(s.h.Subs) {
		return ""
	}
	for i := range s.p.Funcs {
		if s.p.Funcs[i].Slot == s.h.Subs[sub].Start {
			if proto := protoOf(s.p.Funcs[i].Func); proto != nil && sp.index <= len(proto.Params) {
				return proto.Params[sp.index-1].Name
			}
		}
	}
	return ""
}

// nameHere is the name of register n at the refusal, in backquotes, or another way to say it.
func (s *story) nameHere(n int, otherwise string) string {
	if s.now < 0 || n < 0 {
		return otherwise
	}
	if name := s.nameOf(n); name != "" {
		return "`" + name + "`"
	}
	return otherwise
}

// source says where an event's value comes from, as something a person did.
func (s *story) source(e event) string {
	switch e.how {
	case began:
		if e.to.slot {
			return "it was there from the start"
		}
		if e.to.frame == 0 && s.h.Steps[0].Frames[0].Subprog == 0 && e.to.index == 1 {
			return "the program is given the context"
		}
		if e.to.index >= 1 && e.to.index <= 5 {
			return fmt.Sprintf("parameter %d of %s()", e.to.index, s.functionOf(0))
		}
	case called:
		ins := s.insn(e.at)
		name := s.calleeAt(e.at)
		if ins.IsExit() {
			f := s.h.Steps[e.at].Frames[s.depth(e.at)]
			if f.CallSite >= 0 {
				name = s.callee(s.insns[f.CallSite], f.CallSite)
			}
		}
		if name == "" {
			name = "a call"
		}
		if v := s.value(e.at+1, e.to); v != nil && !e.to.slot {
			return fmt.Sprintf("%s() returns %s", name, s.what(v))
		}
		return name + "() writes it"
	case handed:
		if f := s.h.Steps[e.at+1].Frames[e.to.frame]; f.CallSite >= 0 {
			return fmt.Sprintf("%s() calls back with %s", s.callee(s.insns[f.CallSite], f.CallSite), s.what(s.value(e.at+1, e.to)))
		}
		return "given to the callback"
	case loaded:
		return s.load(e)
	case constant:
		return fmt.Sprintf("it is set to %d", s.insn(e.at).Imm)
	case named:
		return "it is " + s.what(s.value(e.at+1, e.to))
	case cleared:
		return "the call of " + s.calleeAt(e.at) + "() leaves nothing in R1 to R5"
	case computed:
		return fmt.Sprintf("computed as %s", s.value(e.at+1, e.to).Text)
	}
	return ""
}

// load says what a load reads.
func (s *story) load(e event) string {
	ins := s.insn(e.at)
	if ins.Op.Class() != isa.ClassLDX {
		return "read from the packet"
	}
	p := s.value(e.at, spot{frame: e.to.frame, index: int(ins.Src)})
	result := s.value(e.at+1, e.to)
	if p == nil {
		return "read from memory"
	}
	tail := ""
	if result != nil && result.Scalar() {
		tail = ": " + number(result)
	} else if result != nil {
		tail = ": " + s.what(result)
	}
	if p.Kind() == "ctx" {
		if f := s.field(p.Off()+int(ins.Off), ins.Op.Bytes()); f != "" {
			return "read from the context (" + f + ")" + tail
		}
		return "read from the context" + tail
	}
	switch p.Kind() {
	case "fp":
		if p.Fixed() {
			at := spot{frame: p.Frame(), slot: true, index: slotOf(p.Offset() + int(ins.Off))}
			if sl := s.slot(e.at, at); sl == nil || sl.Kind() == "" {
				return "read from the stack, where nothing was written" + tail
			}
		}
		if !p.Fixed() {
			return "read from the stack at an index that varies: pointers saved there come back as numbers"
		}
		return "read from the stack" + tail
	case "pkt":
		return fmt.Sprintf("%s read from the packet", bytes(ins.Op.Bytes())) + tail
	case "map_value":
		return fmt.Sprintf("%s read from a value of map %s", bytes(ins.Op.Bytes()), mapName(p)) + tail
	}
	return fmt.Sprintf("%s read from memory", bytes(ins.Op.Bytes())) + tail
}

// field names the context's field at an offset.
func (s *story) field(off, size int) string {
	if s.kind == nil || s.kind.Ctx == nil {
		return ""
	}
	return fieldOf(s.kind.Ctx, off)
}

func fieldOf(c *catalog.Context, off int) string {
	for i := range c.Fields {
		if f := &c.Fields[i]; off >= f.Off && off < f.Off+f.Size {
			return f.Name
		}
	}
	return ""
}
