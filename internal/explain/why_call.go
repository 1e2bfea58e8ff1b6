package explain

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/skep-bpf/skep/internal/catalog"
)

// whyContext: the context has no such field, or not for this.
func (s *story) whyContext() {
	off, size, ok := s.accessed()
	if !ok || s.kind == nil || s.kind.Ctx == nil {
		s.whyAny()
		return
	}
	c := s.kind.Ctx
	verb := "read"
	write := s.kindIs("ctx-write")
	if write {
		verb = "written"
	}
	s.know("%s %s at offset %d of the context, and the context of %s programs is %s (%s)",
		bytesAre(size), verb, off, s.kind.Name, s.contextName(), bytes(c.Size))
	var f *catalog.Field
	for i := range c.Fields {
		if g := &c.Fields[i]; off >= g.Off && off < g.Off+g.Size {
			f = g
		}
	}
	switch {
	case c.Typed:
		s.fixAt(s.x.At, "", "Read one of the arguments that %s has: 8 bytes each, from offset 0", s.p.AttachTo)
		return
	case f == nil:
		text := fmt.Sprintf("Use a field that %s has", s.contextName())
		for _, other := range []string{"__sk_buff", "xdp_md", "bpf_sock_addr", "bpf_sock_ops"} {
			if k := contextNamed(other); k != nil && k != c {
				if name := fieldOf(k, off); name != "" {
					s.know("at that offset struct %s has `%s`", other, name)
					text = fmt.Sprintf("The parameter is %s: declare it so, and use a field it has; or put the program into a section for struct %s", s.contextName(), other)
					break
				}
			}
		}
		s.fixAt(s.x.At, "", "%s", text)
		return
	case write && !f.Write.Has(s.p.Type):
		var can []string
		for i := range c.Fields {
			if c.Fields[i].Write.Has(s.p.Type) {
				can = append(can, c.Fields[i].Name)
			}
		}
		s.know("`%s` can only be read by %s programs", f.Name, s.kind.Name)
		if len(can) == 0 {
			s.know("no field of %s can be written by them", s.contextName())
		} else {
			s.know("these can be written: %s", strings.Join(can, ", "))
		}
		s.fixAt(s.x.At, "", "Do not assign to `%s`: use a field that may be written, or the helper that makes this change", f.Name)
		return
	case !write && !f.Read.Has(s.p.Type):
		s.know("`%s` is not there for %s programs", f.Name, s.kind.Name)
		s.fixAt(s.x.At, "", "Do without `%s`, or use a program type that has it", f.Name)
		return
	}
	elem := f.Size
	if f.Elem != 0 {
		elem = f.Elem
	}
	s.know("`%s` has %s at offset %d", f.Name, bytes(elem), f.Off)
	s.fixAt(s.x.At, "", "Access `%s` whole: %s at offset %d, by its name", f.Name, bytes(elem), f.Off)
}

func contextNamed(name string) *catalog.Context {
	for i := range catalog.ProgKinds() {
		if c := catalog.ProgKinds()[i].Ctx; c != nil && c.Name == name {
			return c
		}
	}
	return nil
}

// whyContextMoved: the context pointer was moved before a field is accessed.
func (s *story) whyContextMoved() {
	n := s.blamed()
	if v := s.reg(n); v != nil {
		s.know("R%d is %s", n, s.what(v))
		if v.Fixed() {
			if f := s.field(v.Offset(), 1); f != "" {
				s.know("%s is moved to its field `%s` before that is accessed", s.contextName(), f)
			}
			if e, ok := find(s.lineage(s.now, s.here(n)), computed); ok {
				s.note(e.at, "the context pointer is moved here")
			}
		} else if e, ok := find(s.lineage(s.now, s.here(n)), computed); ok {
			s.note(e.at, "a number that is not constant is added to the context pointer here")
		}
	}
	s.fixAt(s.x.At, "", "Name the field with a constant index (ctx->field, skb->cb[2]); where the index varies, use a switch or an unrolled loop. If the compiler computes the address first, read the field into a variable of its own before")
}

// whyHelper: a helper that this program type does not have.
func (s *story) whyHelper() {
	if s.x.At.Insn < 0 {
		return
	}
	id := catalog.HelperID(s.insns[s.x.At.Insn].Imm)
	h := catalog.HelperByID(id)
	if h == nil || s.kind == nil {
		return
	}
	var types []string
	for _, k := range catalog.ProgKinds() {
		if k.Helper(id, 0) != nil {
			types = append(types, k.Name)
		}
	}
	s.know("this program is of type %s", s.kind.Name)
	s.know("%s() is for %s", id, few(types))
	if h.Doc != "" {
		s.know("%s", h.Doc)
	}
	s.fixAt(s.x.At, "", "Do without %s() here: the helpers of %s programs are in docs/reference/helpers.md; or make it a program of one of those types", id, s.kind.Name)
}

// few lists the first of many.
func few(names []string) string {
	const most = 6
	if len(names) > most+1 {
		names = append(names[:most:most], fmt.Sprintf("%d more", len(names)-most))
	}
	return strings.Join(names, ", ")
}

var gotWant = regexp.MustCompile(`type=(\S+) expected=(.*)$`)

// whyArgument: an argument of the wrong kind.
func (s *story) whyArgument() {
	n := s.blamed()
	v := s.reg(n)
	if v == nil {
		s.whyAny()
		return
	}
	call := s.calleeAt(s.now)
	s.know("%s is %s", s.called(n), s.what(v))
	want := s.wanted(n)
	if want == "" {
		if m := gotWant.FindStringSubmatch(s.h.Err.Msg); m != nil {
			want = m[2]
		}
	}
	if want != "" {
		s.know("%s() wants as argument %d: %s", call, n, want)
	}
	s.trace(s.now, s.here(n))
	if s.insn(s.now).IsLocalCall() {
		s.note(s.now, "passed to %s()", call)
	}
	switch {
	case v.Scalar():
		if c, ok := v.Const(); ok && c == 0 {
			s.fixAt(s.x.At, "", "Pass %s, not NULL", orName(want, "what it wants"))
			return
		}
		s.fixAt(s.x.At, "", "Pass %s, not a number: where a value is meant, put it into a variable on the stack and pass that variable's address", orName(want, "what it wants"))
	default:
		s.fixAt(s.x.At, "", "Pass %s instead of %s", orName(want, "what it wants"), s.what(v))
	}
}

// wanted says in words what argument n of the call must be.
func (s *story) wanted(n int) string {
	ins := s.insn(s.now)
	switch {
	case ins.IsHelperCall():
		if h := catalog.HelperByID(catalog.HelperID(ins.Imm)); h != nil && n >= 1 && n <= 5 {
			t := h.Args[n-1].Type
			if w := argWords[t.Base()]; w != "" {
				return w
			}
			return t.String()
		}
	case ins.IsKfuncCall():
		if _, proto := s.kfuncProto(ins.Imm); proto != nil && n >= 1 && n <= len(proto.Params) {
			p := proto.Params[n-1]
			return strings.TrimSpace(ctype(p.Type) + " " + p.Name)
		}
	case ins.IsLocalCall():
		for i := range s.p.Funcs {
			if s.p.Funcs[i].Slot == s.x.At.Insn+1+int(ins.Imm) {
				if proto := protoOf(s.p.Funcs[i].Func); proto != nil && n >= 1 && n <= len(proto.Params) {
					p := proto.Params[n-1]
					return strings.TrimSpace(ctype(p.Type) + " " + p.Name)
				}
			}
		}
	}
	return ""
}

// argWords say more of an argument than the name of its kind.
var argWords = map[catalog.ArgType]string{
	catalog.ArgCtx: "the context that the program was given", catalog.ArgConstMapPtr: "the address of a map",
	catalog.ArgMapKey: "a pointer to a key", catalog.ArgMapValue: "a pointer to a value", catalog.ArgMem: "a pointer to memory",
	catalog.ArgConstStr: "a constant string", catalog.ArgRingBufMem: "the record that was reserved", catalog.ArgStack: "a pointer to the stack",
	catalog.ArgDynptr: "the address of a dynptr", catalog.ArgFunc: "a function of the program", catalog.ArgAnything: "a number",
}

// whyLicense: for GPL-compatible programs only.
func (s *story) whyLicense() {
	if c := s.x.At; c.Insn >= 0 {
		s.know("%s needs a GPL-compatible license, and this object's is not", orName(s.callee(s.insns[c.Insn], c.Insn), "what is done here")+"()")
	}
	s.fixAt(s.x.At, `char LICENSE[] SEC("license") = "GPL";`, "Declare a GPL-compatible license, if that is the program's, or do without this call")
}

// gentler are functions that do without sleeping what others sleep for.
var gentler = map[string]string{
	"bpf_copy_from_user": "bpf_probe_read_user", "bpf_copy_from_user_task": "bpf_probe_read_user", "bpf_copy_from_user_str": "bpf_probe_read_user_str",
}

// whySleepable: a call that may sleep in a program that may not.
func (s *story) whySleepable() {
	if s.x.At.Insn < 0 {
		return
	}
	call := s.callee(s.insns[s.x.At.Insn], s.x.At.Insn)
	s.know("%s() may sleep, and this program (%s) is not loaded as sleepable", call, s.kind.Name)
	text := "Make the program sleepable (a section that ends in .s, where its type allows that)"
	if g := gentler[call]; g != "" {
		text += fmt.Sprintf(", or use %s(), which does not sleep", g)
	}
	s.fixAt(s.x.At, "", "%s", text)
}

var mapTypeMsg = regexp.MustCompile(`map_type (\d+) into func`)

// whyMapType: a map that a helper does not take.
func (s *story) whyMapType() {
	if s.now >= 0 && s.insn(s.now).IsHelperCall() {
		id := catalog.HelperID(s.insn(s.now).Imm)
		for n := 1; n <= 5; n++ {
			v := s.reg(n)
			if v == nil || v.Kind() != "map_ptr" || v.Map() == nil {
				continue
			}
			s.know("%s is of type %s, and %s() does not take such maps", mapName(v), v.Map().Type, id)
			var takes []string
			if h := s.kind.Helper(id, s.p.Attach); h != nil {
				for _, k := range catalog.MapKinds() {
					if s.kind.HelperTakesMap(h, k.Type, s.p.Attach) && len(takes) < 6 {
						takes = append(takes, k.Type.String())
					}
				}
			}
			if len(takes) > 0 {
				s.know("it takes %s", strings.Join(takes, ", "))
			}
			s.trace(s.now, s.here(n))
			s.fixAt(s.x.At, "", "Use a map of a type that %s() takes, or the helper for %s maps", id, v.Map().Type)
			return
		}
	}
	if m := mapTypeMsg.FindStringSubmatch(s.h.Err.Msg); m != nil {
		n, _ := strconv.Atoi(m[1])
		s.know("the map is of type %s", catalog.MapType(n))
	}
	s.fixAt(s.x.At, "", "%s", s.fixWords())
}

// whyReadOnly: a map that programs may not write (or read).
func (s *story) whyReadOnly() {
	if s.now < 0 {
		return
	}
	fix := s.fixWords()
	n := s.blamedPointer()
	for r := 1; r <= 5 && s.insn(s.now).IsHelperCall(); r++ {
		if v := s.reg(r); v != nil && (v.Kind() == "map_ptr" || v.Kind() == "map_value") {
			n = r
			break
		}
	}
	if v := s.reg(n); v != nil {
		s.know("%s is %s", s.called(n), s.what(v))
		if m := v.Map(); m != nil {
			switch {
			case strings.HasSuffix(m.Name, ".rodata"):
				s.know("%s holds the object's constants: const global variables and strings", mapName(v))
				fix = "Drop const from the variable, or write to another one"
			case m.Flags&catalog.FlagRdonlyProg != 0:
				s.know("%s was made with BPF_F_RDONLY_PROG", mapName(v))
				fix = "Drop BPF_F_RDONLY_PROG from the map_flags of " + mapName(v) + ", or let user space write to it"
			case m.Flags&catalog.FlagWronlyProg != 0:
				s.know("%s was made with BPF_F_WRONLY_PROG", mapName(v))
				fix = "Drop BPF_F_WRONLY_PROG from the map_flags of " + mapName(v)
			}
		}
		s.trace(s.now, s.here(n))
	}
	s.fixAt(s.x.At, "", "%s", fix)
}

// whyConstant: an argument that must be known at load time.
func (s *story) whyConstant() {
	n := s.blamed()
	if s.now < 0 || n < 0 {
		return
	}
	if v := s.reg(n); v != nil {
		s.know("%s is %s", s.called(n), s.what(v))
		s.trace(s.now, s.here(n))
	}
	s.fixAt(s.x.At, "", "%s", s.fixWords())
}

// whyKfunc: a kernel function that may not be called here.
func (s *story) whyKfunc() {
	if s.x.At.Insn >= 0 && s.insns[s.x.At.Insn].IsKfuncCall() && s.kind != nil {
		if name := s.kfunc(s.insns[s.x.At.Insn].Imm); name != "" {
			s.know("this program is of type %s", s.kind.Name)
			if k := catalog.KfuncByName(name); k != nil && k.Progs != 0 {
				var types []string
				for _, p := range catalog.ProgKinds() {
					if k.Progs.Has(p.Type) {
						types = append(types, p.Name)
					}
				}
				s.know("%s() is for %s", name, few(types))
			}
			s.fixAt(s.x.At, "", "Do without %s() here, or use a program type that may call it", name)
			return
		}
	}
	s.fixAt(s.x.At, "", "%s", s.fixWords())
}
