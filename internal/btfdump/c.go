package btfdump

import (
	"bufio"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/skep-bpf/skep/internal/rawbtf"
)

// The frame of the declarations, as programs for CO-RE expect it of a vmlinux.h:
// accesses to all that is declared here are relocated.
const (
	cHead = `#ifndef __VMLINUX_H__
#define __VMLINUX_H__

#ifndef BPF_NO_PRESERVE_ACCESS_INDEX
#pragma clang attribute push (__attribute__((preserve_access_index)), apply_to = record)
#endif

`
	cTail = `#ifndef BPF_NO_PRESERVE_ACCESS_INDEX
#pragma clang attribute pop
#endif

#endif /* __VMLINUX_H__ */
`
	cKfuncs = `#ifndef BPF_NO_KFUNC_PROTOTYPES
#ifndef __ksym
#define __ksym __attribute__((section(".ksyms")))
#endif

#ifndef __weak
#define __weak __attribute__((weak))
#endif

`
)

// WriteC writes C declarations of the types, each behind those it needs; types
// whose size or name is another one's business are not written by themselves.
// Kernel functions that programs may call follow.
func WriteC(w io.Writer, b *rawbtf.BTF, ids []int) error {
	p := newPrinter(b, bufio.NewWriter(w))
	p.all(ids)
	return p.w.Flush()
}

func (p *printer) all(ids []int) {
	b := p.b
	p.w.WriteString(cHead)
	for _, id := range ids {
		switch b.Kind(id) {
		case rawbtf.KindStruct, rawbtf.KindUnion, rawbtf.KindTypedef:
			if b.Name(id) != "" {
				p.define(id)
			}
		case rawbtf.KindEnum, rawbtf.KindEnum64:
			if b.Name(id) != "" || !p.referred[id] {
				p.define(id)
			}
		}
	}
	p.kfuncs(ids)
	p.w.WriteString(cTail)
}

// progress says how far a type is declared.
type progress uint8

const (
	unknown  progress = iota
	forward           // its name is known
	underway          // what it needs is being declared
	defined
)

// printer declares types in the order they need each other.
type printer struct {
	b        *rawbtf.BTF
	w        *bufio.Writer
	layout   layout
	at       []progress // by id
	named    []bool     // by id: "struct x;" stands somewhere before
	referred []bool     // by id: written inside another type
	whole    []bool     // by id: all is declared that is inside it

	tags, idents map[string]int // how many have the name: of structs, unions, enums; of all else
	given        map[int]string // names given to ids
}

func newPrinter(b *rawbtf.BTF, w *bufio.Writer) *printer {
	p := &printer{
		b: b, w: w, layout: newLayout(b),
		at: make([]progress, b.Count()), named: make([]bool, b.Count()), referred: make([]bool, b.Count()),
		whole: make([]bool, b.Count()),
		tags:  map[string]int{}, idents: map[string]int{}, given: map[int]string{},
	}
	for id := 1; id < b.Count(); id++ {
		switch b.Kind(id) {
		case rawbtf.KindVar, rawbtf.KindDatasec, rawbtf.KindDeclTag:
			continue
		}
		for _, ref := range refs(b, id) {
			p.referred[ref] = true
		}
	}
	return p
}

// keyword is what stands before a tag.
func (p *printer) keyword(id int) string {
	switch k := p.b.Kind(id); {
	case k == rawbtf.KindUnion, k == rawbtf.KindFwd && p.b.Flag(id):
		return "union "
	case k == rawbtf.KindStruct, k == rawbtf.KindFwd:
		return "struct "
	}
	return "enum "
}

// unique returns a name that was not given before: the second x is x___2.
func unique(taken map[string]int, name string) string {
	if name == "" {
		return ""
	}
	if taken[name]++; taken[name] > 1 {
		return fmt.Sprintf("%s___%d", name, taken[name])
	}
	return name
}

// name returns what a type is called here.
func (p *printer) name(id int) string {
	if name, ok := p.given[id]; ok {
		return name
	}
	name := p.b.Name(id)
	switch p.b.Kind(id) {
	case rawbtf.KindStruct, rawbtf.KindUnion, rawbtf.KindEnum, rawbtf.KindEnum64:
		name = unique(p.tags, name)
	case rawbtf.KindTypedef:
		name = unique(p.idents, name)
	}
	p.given[id] = name
	return name
}

// builtin are typedefs that compilers know without a declaration.
var builtin = map[string]bool{"__builtin_va_list": true}

// define declares a struct, union, enum or typedef, after what it needs.
func (p *printer) define(id int) {
	if p.at[id] >= underway {
		return
	}
	p.at[id] = underway
	switch p.b.Kind(id) {
	case rawbtf.KindTypedef:
		if target := int(p.b.Word(id, 2)); !builtin[p.b.Name(id)] {
			p.need(target, false, 0)
			fmt.Fprintf(p.w, "typedef %s;\n\n", p.declare(target, p.name(id), "", 0))
		}
	case rawbtf.KindStruct, rawbtf.KindUnion:
		for _, m := range members(p.b, id) {
			p.need(m.typ, true, id)
		}
		fmt.Fprintf(p.w, "%s;\n\n", p.spell(id, 0, true))
	default:
		fmt.Fprintf(p.w, "%s;\n\n", p.spell(id, 0, true))
	}
	p.at[id] = defined
}

// need declares what has to stand before a mention of a type: all of it if whole,
// else its name. owner is the struct that mentions it, which knows itself.
func (p *printer) need(id int, whole bool, owner int) {
	b := p.b
	switch b.Kind(id) {
	case rawbtf.KindConst, rawbtf.KindVolatile, rawbtf.KindRestrict, rawbtf.KindTypeTag:
		p.need(int(b.Word(id, 2)), whole, owner)
	case rawbtf.KindPtr:
		p.need(int(b.Word(id, 2)), false, owner)
	case rawbtf.KindArray:
		p.need(int(b.Word(id, 3)), true, owner)
	case rawbtf.KindFuncProto:
		p.need(int(b.Word(id, 2)), false, owner)
		for _, m := range params(b, id) {
			p.need(m.typ, false, owner)
		}
	case rawbtf.KindFwd:
		p.forward(id)
	case rawbtf.KindEnum, rawbtf.KindEnum64:
		if b.Name(id) != "" {
			p.define(id)
		}
	case rawbtf.KindTypedef:
		p.define(id)
		if whole && !p.whole[id] {
			p.whole[id] = true
			p.need(int(b.Word(id, 2)), true, owner)
		}
	case rawbtf.KindStruct, rawbtf.KindUnion:
		switch {
		case b.Name(id) == "" && p.whole[id]:
		case b.Name(id) == "":
			p.whole[id] = true
			for _, m := range members(b, id) {
				p.need(m.typ, true, owner)
			}
		case whole:
			p.define(id)
		case id != owner:
			p.forward(id)
		}
	}
}

// forward declares a name, unless it is known.
func (p *printer) forward(id int) {
	if p.named[id] || p.at[id] == defined {
		return
	}
	p.named[id] = true
	fmt.Fprintf(p.w, "%s%s;\n\n", p.keyword(id), p.name(id))
}

func tabs(n int) string { return strings.Repeat("\t", n) }

// declare returns the declaration of d, a declarator such as "x" or "*x[3]", as
// something of a type, with qualifiers. Types are written from the inside out:
//
//	pointer to array of 3 int:   declare(pointer, "x") = declare(array, "(*x)") = declare(int, "(*x)[3]") = "int (*x)[3]"
func (p *printer) declare(id int, d, quals string, indent int) string {
	b := p.b
	switch b.Kind(id) {
	case rawbtf.KindConst:
		return p.declare(int(b.Word(id, 2)), d, qualify(quals, "const "), indent)
	case rawbtf.KindVolatile:
		return p.declare(int(b.Word(id, 2)), d, qualify(quals, "volatile "), indent)
	case rawbtf.KindRestrict:
		return p.declare(int(b.Word(id, 2)), d, qualify(quals, "restrict "), indent)
	case rawbtf.KindTypeTag:
		attr := fmt.Sprintf("btf_type_tag(%q)", b.Name(id))
		if b.Flag(id) { // any other attribute
			attr = b.Name(id)
		}
		return p.declare(int(b.Word(id, 2)), join("__attribute__(("+attr+"))", d), quals, indent)
	case rawbtf.KindPtr:
		target := int(b.Word(id, 2))
		d = strings.TrimSuffix("*"+quals+d, " ")
		if k := b.Kind(plain(b, target)); k == rawbtf.KindArray || k == rawbtf.KindFuncProto {
			d = "(" + d + ")"
		}
		return p.declare(target, d, "", indent)
	case rawbtf.KindArray:
		return p.declare(int(b.Word(id, 3)), fmt.Sprintf("%s[%d]", d, b.Word(id, 5)), quals, indent)
	case rawbtf.KindFuncProto:
		return p.declare(int(b.Word(id, 2)), d+"("+p.params(id, indent)+")", "", indent)
	}
	return quals + join(p.spell(id, indent, false), d)
}

// qualify adds a qualifier that is not there yet.
func qualify(quals, q string) string {
	if strings.Contains(quals, q) {
		return quals
	}
	return quals + q
}

// join puts a blank between two words that are there.
func join(a, b string) string {
	if a == "" || b == "" {
		return a + b
	}
	return a + " " + b
}

func (p *printer) params(proto, indent int) string {
	ps := params(p.b, proto)
	if len(ps) == 0 {
		return "void"
	}
	texts := make([]string, len(ps))
	for i, m := range ps {
		if m.typ == 0 && m.name == "" {
			texts[i] = "..."
			continue
		}
		texts[i] = p.declare(m.typ, m.name, "", indent)
	}
	return strings.Join(texts, ", ")
}

// spell returns the name of a type or, of one without a name and where its
// definition is asked for, all of it.
func (p *printer) spell(id, indent int, definition bool) string {
	b := p.b
	switch b.Kind(id) {
	case rawbtf.KindVoid:
		return "void"
	case rawbtf.KindFwd:
		return p.keyword(id) + b.Name(id)
	case rawbtf.KindStruct, rawbtf.KindUnion, rawbtf.KindEnum, rawbtf.KindEnum64:
		name := p.keyword(id) + p.name(id)
		if !definition && b.Name(id) != "" {
			return name
		}
		body := p.enum
		if k := b.Kind(id); k == rawbtf.KindStruct || k == rawbtf.KindUnion {
			body = p.record
		}
		return strings.TrimSuffix(name, " ") + " " + body(id, indent)
	}
	return p.name(id)
}

// enum returns the constants of an enum, in braces.
func (p *printer) enum(id, indent int) string {
	var s strings.Builder
	s.WriteString("{\n")
	for _, e := range enumerators(p.b, id) {
		fmt.Fprintf(&s, "%s%s = %v,\n", tabs(indent+1), unique(p.idents, e.name), e.shown(p.b, id))
	}
	s.WriteString(tabs(indent) + "}")
	// An enum is as wide as int, or as its constants ask for, unless it is said.
	switch size := p.b.Word(id, 2); {
	case size == 1:
		s.WriteString(" __attribute__((mode(byte)))")
	case size == 2:
		s.WriteString(" __attribute__((mode(HI)))")
	case size == 8 && p.b.Kind(id) == rawbtf.KindEnum:
		s.WriteString(" __attribute__((mode(word)))")
	}
	return s.String()
}

// record returns the members of a struct or union, in braces, with padding where
// the compiler would not put a member where it is.
func (p *printer) record(id, indent int) string {
	ms := members(p.b, id)
	var s strings.Builder
	s.WriteString("{")
	if len(ms) > 0 {
		s.WriteString("\n")
	}
	line := func(text string) { s.WriteString(tabs(indent+1) + text + ";\n") }
	for _, step := range p.layout.steps(id, ms) {
		if step.member == nil {
			line(step.pad)
			continue
		}
		d := step.member.name
		if step.member.bits != 0 {
			d = fmt.Sprintf("%s: %d", d, step.member.bits)
		}
		line(p.declare(step.member.typ, d, "", indent+1))
	}
	if len(ms) > 0 {
		s.WriteString(tabs(indent))
	}
	s.WriteString("}")
	if p.layout.packed(id) {
		s.WriteString(" __attribute__((packed))")
	}
	if n := p.layout.aligned(id); n != 0 {
		fmt.Fprintf(&s, " __attribute__((aligned(%d)))", n)
	}
	return s.String()
}

// kfuncs declares the functions that are tagged bpf_kfunc.
func (p *printer) kfuncs(ids []int) {
	tags := map[int][]string{}
	for id := 1; id < p.b.Count(); id++ {
		if p.b.Kind(id) == rawbtf.KindDeclTag && int32(p.b.Word(id, 3)) == -1 {
			f := int(p.b.Word(id, 2))
			tags[f] = append(tags[f], p.b.Name(id))
		}
	}
	var funcs []int
	for _, id := range ids {
		if p.b.Kind(id) == rawbtf.KindFunc && slices.Contains(tags[id], "bpf_kfunc") {
			funcs = append(funcs, id)
			p.need(int(p.b.Word(id, 2)), false, 0)
		}
	}
	if len(funcs) == 0 {
		return
	}
	p.w.WriteString(cKfuncs)
	for _, id := range funcs {
		fmt.Fprintf(p.w, "extern %s __weak __ksym;\n", p.declare(int(p.b.Word(id, 2)), p.b.Name(id), "", 0))
	}
	p.w.WriteString("#endif\n\n")
}
