// Package btfdump shows BTF as bpftool btf dump does: as a list of its types, or
// as C declarations of which a compiler makes the same types.
package btfdump

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"

	"github.com/skep-bpf/skep/internal/rawbtf"
)

// entry is what is shown of a type, or of one of its parts: fields in order.
// Its texts and its JSON have bpftool's names.
type entry struct {
	fields []field
	list   string // what the parts are called
	parts  []entry
}

// field is a name with a string or a number. In text it comes behind its sep, a
// blank where there is none; as a value alone, in quotes, if it is a name.
type field struct {
	name  string
	value any
	sep   string
	text  string // what stands in text alone; in JSON there is nothing of it
}

func (e *entry) add(name string, value any) {
	e.fields = append(e.fields, field{name: name, value: value})
}

// unsigned is a number whose text says that it has 64 bits.
type unsigned uint64

func (u unsigned) String() string { return fmt.Sprintf("%dULL", uint64(u)) }

// signed is the same with a sign.
type signed int64

func (s signed) String() string { return fmt.Sprintf("%dLL", int64(s)) }

// WriteRaw writes a paragraph for each of the types.
//
//	[11] STRUCT 'counter' size=16 vlen=2
//		'packets' type_id=12 bits_offset=0
//		'bytes' type_id=12 bits_offset=64
func WriteRaw(w io.Writer, b *rawbtf.BTF, ids []int) error {
	out := bufio.NewWriter(w)
	for _, id := range ids {
		e := describe(b, id)
		fmt.Fprintf(out, "[%d] %s", id, b.Kind(id))
		e.writeText(out, " ")
		for _, p := range e.parts {
			out.WriteString("\n\t")
			p.writeText(out, "")
		}
		out.WriteByte('\n')
	}
	return out.Flush()
}

func (e *entry) writeText(w *bufio.Writer, sep string) {
	for _, f := range e.fields {
		if f.sep != "" {
			sep = f.sep
		}
		w.WriteString(sep)
		switch {
		case f.text != "":
			w.WriteString(f.text)
		case f.name == "name":
			fmt.Fprintf(w, "'%s'", f.value)
		default:
			fmt.Fprintf(w, "%s=%v", f.name, f.value)
		}
		sep = " "
	}
}

// WriteJSON writes {"types": […]}, one object for each of the types.
func WriteJSON(w io.Writer, b *rawbtf.BTF, ids []int, indent bool) error {
	types := make([]entry, 0, len(ids))
	for _, id := range ids {
		e := describe(b, id)
		e.fields = append([]field{{name: "id", value: id}, {name: "kind", value: b.Kind(id).String()}}, e.fields...)
		types = append(types, e)
	}
	enc := json.NewEncoder(w)
	if indent {
		enc.SetIndent("", "    ")
	}
	enc.SetEscapeHTML(false)
	return enc.Encode(struct {
		Types []entry `json:"types"`
	}{types})
}

// MarshalJSON keeps the order of the fields.
func (e entry) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	put := func(name string, value any) error {
		if b.Len() > 1 {
			b.WriteByte(',')
		}
		v, err := json.Marshal(value)
		fmt.Fprintf(&b, "%q:%s", name, v)
		return err
	}
	b.WriteByte('{')
	for _, f := range e.fields {
		if f.text != "" {
			continue
		}
		if err := put(f.name, f.value); err != nil {
			return nil, err
		}
	}
	if e.list != "" {
		if err := put(e.list, append([]entry{}, e.parts...)); err != nil {
			return nil, err
		}
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

// shown is a name, or what stands for none.
func shown(name string) string {
	if name == "" {
		return "(anon)"
	}
	return name
}

// describe says of a type what its words mean.
func describe(b *rawbtf.BTF, id int) entry {
	var e entry
	e.add("name", shown(b.Name(id)))
	word, vlen := b.Word(id, 2), b.Vlen(id)
	switch b.Kind(id) {
	case rawbtf.KindInt:
		describeInt(&e, word, b.Word(id, 3))
	case rawbtf.KindPtr, rawbtf.KindConst, rawbtf.KindVolatile, rawbtf.KindRestrict, rawbtf.KindTypedef, rawbtf.KindTypeTag:
		e.add("type_id", word)
	case rawbtf.KindArray:
		e.add("type_id", b.Word(id, 3))
		e.add("index_type_id", b.Word(id, 4))
		e.add("nr_elems", b.Word(id, 5))
	case rawbtf.KindStruct, rawbtf.KindUnion:
		e.add("size", word)
		e.add("vlen", vlen)
		e.list = "members"
		for _, m := range members(b, id) {
			var p entry
			p.add("name", shown(m.name))
			p.add("type_id", m.typ)
			p.add("bits_offset", m.offset)
			if m.bits != 0 {
				p.add("bitfield_size", m.bits)
			}
			e.parts = append(e.parts, p)
		}
	case rawbtf.KindEnum, rawbtf.KindEnum64:
		e.add("encoding", map[bool]string{false: "UNSIGNED", true: "SIGNED"}[b.Flag(id)])
		e.add("size", word)
		e.add("vlen", vlen)
		e.list = "values"
		for _, v := range enumerators(b, id) {
			var p entry
			p.add("name", shown(v.name))
			p.add("val", v.shown(b, id))
			e.parts = append(e.parts, p)
		}
	case rawbtf.KindFwd:
		e.add("fwd_kind", map[bool]string{false: "struct", true: "union"}[b.Flag(id)])
	case rawbtf.KindFunc:
		e.add("type_id", word)
		e.add("linkage", linkage(uint32(vlen)))
	case rawbtf.KindFuncProto:
		e.add("ret_type_id", word)
		e.add("vlen", vlen)
		e.list = "params"
		for _, m := range params(b, id) {
			var p entry
			p.add("name", shown(m.name))
			p.add("type_id", m.typ)
			e.parts = append(e.parts, p)
		}
	case rawbtf.KindVar:
		e.add("type_id", word)
		e.fields = append(e.fields, field{name: "linkage", value: linkage(b.Word(id, 3)), sep: ", "})
	case rawbtf.KindDatasec:
		e.add("size", word)
		e.add("vlen", vlen)
		e.list = "vars"
		for j := range vlen {
			at := rawbtf.SecVar(j)
			var p entry
			v := b.Word(id, at)
			p.add("type_id", v)
			p.add("offset", b.Word(id, at+1))
			p.add("size", b.Word(id, at+2))
			if b.Valid(v) {
				p.fields = append(p.fields, field{text: fmt.Sprintf("(%v '%s')", b.Kind(int(v)), b.Name(int(v)))})
			}
			e.parts = append(e.parts, p)
		}
	case rawbtf.KindFloat:
		e.add("size", word)
	case rawbtf.KindDeclTag:
		e.add("type_id", word)
		e.add("component_idx", int32(b.Word(id, 3)))
	}
	return e
}

// describeInt shows the word behind an integer: encoding 4 (24…27), offset 8 (16…23), bits 8.
func describeInt(e *entry, size, word uint32) {
	e.add("size", size)
	e.add("bits_offset", word>>16&0xff)
	e.add("nr_bits", word&0xff)
	encoding := "(unknown)"
	switch word >> 24 & 0xf {
	case 0:
		encoding = "(none)"
	case intSigned:
		encoding = "SIGNED"
	case intChar:
		encoding = "CHAR"
	case intBool:
		encoding = "BOOL"
	}
	e.add("encoding", encoding)
}

func linkage(l uint32) string {
	switch l {
	case rawbtf.LinkStatic:
		return "static"
	case rawbtf.LinkGlobal:
		return "global"
	case rawbtf.LinkExtern:
		return "extern"
	}
	return "(unknown)"
}
