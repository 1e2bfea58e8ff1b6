package bpfmap

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/cli/objects"
	"github.com/skep-bpf/skep/internal/cli/ui"
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/linux"
	"github.com/skep-bpf/skep/internal/rawbtf"
)

// elem is an element as the command line has it.
type elem struct {
	key, value []byte
	flags      uint64
	held       *linux.Object // what the value is a descriptor of, or nil
}

func (e *elem) close() {
	if e.held != nil {
		e.held.Close()
	}
}

// Update flags (uapi BPF_ANY …).
const (
	updateAny     = 0
	updateNoExist = 1
	updateExist   = 2
)

// parseElem takes key and value, as far as they are wanted, and flags beside a value.
func parseElem(v *objects.Verb, m *linux.MapInfo, wantKey, wantValue bool) (*elem, error) {
	e := &elem{}
	wantKey, wantValue = wantKey && m.KeySize > 0, wantValue && m.ValueSize > 0
	flags := wantValue
	for v.Len() > 0 {
		var err error
		switch {
		case wantKey && v.Take("key"):
			wantKey = false
			e.key, err = data(v, "key", int(m.KeySize))
		case wantValue && v.Take("value"):
			wantValue = false
			err = e.parseValue(v, m)
		case flags && v.Take("any"):
			flags, e.flags = false, updateAny
		case flags && v.Take("noexist"):
			flags, e.flags = false, updateNoExist
		case flags && v.Take("exist"):
			flags, e.flags = false, updateExist
		default:
			e.close()
			return nil, ui.Usagef("%q: %s", v.Peek(), expected(wantKey, wantValue, flags))
		}
		if err != nil {
			e.close()
			return nil, err
		}
	}
	if wantKey || wantValue {
		e.close()
		return nil, ui.Usagef("%s", expected(wantKey, wantValue, false))
	}
	return e, nil
}

func expected(key, value, flags bool) string {
	switch {
	case key && value:
		return "key and value are missing"
	case key:
		return "the key is missing: key BYTE …"
	case value:
		return "the value is missing: value …"
	case flags:
		return "there are any, exist and noexist"
	}
	return "nothing more was expected"
}

// data takes n bytes, each a word.
func data(v *objects.Verb, what string, n int) ([]byte, error) {
	hex := v.Take("hex")
	out := make([]byte, n)
	for i := range out {
		word, err := v.Next(fmt.Sprintf("byte %d of the %s's %d", i+1, what, n))
		if err != nil {
			return nil, err
		}
		if hex && (len(word) < 2 || word[:2] != "0x") {
			word = "0x" + word
		}
		b, err := objects.Number(word, 8)
		if err != nil {
			return nil, ui.Usagef("byte %d of the %s, %q: not a number from 0 to 255", i+1, what, word)
		}
		out[i] = byte(b)
	}
	return out, nil
}

// parseValue takes a value: bytes, or what a map of maps or of programs refers to.
func (e *elem) parseValue(v *objects.Verb, m *linux.MapInfo) (err error) {
	switch m.Type {
	case catalog.MapArrayOfMaps, catalog.MapHashOfMaps:
		e.held, _, err = v.Map()
	case catalog.MapProgArray:
		if !v.Live || v.J != nil || !objects.Begins(v.Peek(), "id") {
			// nothing to warn of
		} else if _, werr := fmt.Fprintln(v.UI.Err, "skep map: keep the array open or pinned: when nobody holds it any more its programs go"); werr != nil {
			return werr
		}
		e.held, err = v.Prog()
	default:
		e.value, err = data(v, "value", int(m.ValueSize))
		if err == nil && m.PerCPU() {
			e.value, err = forAllCPUs(m, e.value)
		}
		return err
	}
	if err != nil {
		return err
	}
	e.value = binary.NativeEndian.AppendUint32(nil, uint32(e.held.FD()))
	return nil
}

// forAllCPUs repeats a value for each possible CPU.
func forAllCPUs(m *linux.MapInfo, one []byte) ([]byte, error) {
	all, err := valueRoom(m)
	if err != nil {
		return nil, err
	}
	stride := int(m.ValueSize+7) &^ 7
	for i := 0; i < len(all); i += stride {
		copy(all[i:], one)
	}
	return all, nil
}

// valueRoom is room for what a lookup gives.
func valueRoom(m *linux.MapInfo) ([]byte, error) {
	cpus, err := linux.PossibleCPUs()
	if err != nil {
		return nil, err
	}
	return make([]byte, m.ValueLen(cpus)), nil
}

// typesOf returns the BTF of a map's key and value, nil if it has none.
func typesOf(v *objects.Verb, m *linux.MapInfo) (*rawbtf.BTF, error) {
	switch {
	case m.VmlinuxValueID != 0:
		return v.Types(objects.VmlinuxID)
	case m.ValueID != 0:
		return v.Types(m.BTFID)
	}
	return nil, nil
}

// each calls do for the value of each CPU, or for the one there is with -1.
func each(m *linux.MapInfo, value []byte, do func(cpu int, value []byte)) {
	if !m.PerCPU() {
		do(-1, value)
		return
	}
	stride := int(m.ValueSize+7) &^ 7
	for cpu := 0; len(value) >= stride && stride > 0; cpu++ {
		do(cpu, value[:m.ValueSize])
		value = value[stride:]
	}
}

// formatted writes an element by its types, as an object.
func formatted(v *objects.Verb, j *objects.JSON, b *rawbtf.BTF, m *linux.MapInfo, key, value []byte) (err error) {
	w := objects.Values{J: j, BTF: b, Text: v.J == nil}
	j.Object()
	defer j.EndObject()
	if m.KeyID != 0 {
		j.Name("key")
		if err := w.Write(m.KeyID, key); err != nil {
			return err
		}
	}
	id := m.ValueID
	if m.VmlinuxValueID != 0 {
		id = m.VmlinuxValueID
	}
	if !m.PerCPU() {
		j.Name("value")
		return w.Write(id, value)
	}
	j.Name("values")
	j.Array()
	defer j.EndArray()
	each(m, value, func(cpu int, one []byte) {
		j.Object()
		j.Field("cpu", cpu)
		j.Name("value")
		if e := w.Write(id, one); e != nil && err == nil {
			err = e
		}
		j.EndObject()
	})
	return err
}

// jsonElem writes an element as JSON: its bytes, and formatted where it has types.
func jsonElem(v *objects.Verb, b *rawbtf.BTF, m *linux.MapInfo, key, value []byte) error {
	j := v.J
	j.Object()
	defer j.EndObject()
	j.Name("key")
	j.Bytes(key)
	if m.PerCPU() {
		j.Name("values")
		j.Array()
		each(m, value, func(cpu int, one []byte) {
			j.Object()
			j.Field("cpu", cpu)
			j.Name("value")
			j.Bytes(one)
			j.EndObject()
		})
		j.EndArray()
	} else {
		j.Name("value")
		j.Bytes(value)
	}
	if b == nil {
		return nil
	}
	j.Name("formatted")
	return formatted(v, j, b, m, key, value)
}

// Lengths at which bpftool breaks lines: of key or value alone, of both.
const (
	longPart = 16
	longLine = 24
)

// gap is what stands behind "key:" and "value:".
func gap(long bool) string {
	if long {
		return "\n"
	}
	return " "
}

// plainElem writes an element's bytes.
func plainElem(v *objects.Verb, m *linux.MapInfo, key, value []byte) {
	if m.PerCPU() {
		if len(key) > 0 {
			v.Printf("key:\n")
			v.Hex(key, " ")
			v.Printf("\n")
		}
		each(m, value, func(cpu int, one []byte) {
			v.Printf("value (CPU %02d):%s", cpu, gap(len(one) > longPart))
			v.Hex(one, " ")
			v.Printf("\n")
		})
		return
	}
	long := len(key) > longPart || len(value) > longPart
	keyPart(v, key, long, len(value))
	if len(value) > 0 {
		v.Printf("value:%s", gap(long))
		v.Hex(value, " ")
	}
	v.Printf("\n")
}

func keyPart(v *objects.Verb, key []byte, long bool, rest int) {
	if len(key) == 0 {
		return
	}
	v.Printf("key:%s", gap(long))
	v.Hex(key, " ")
	if len(key)+rest <= longLine && !long {
		v.Printf("  ")
	} else {
		v.Printf("\n")
	}
}

// showElem writes one element, which is all of the answer.
func showElem(v *objects.Verb, m *linux.MapInfo, key, value []byte) error {
	b, err := typesOf(v, m)
	if err != nil {
		return err
	}
	switch {
	case v.J != nil:
		return jsonElem(v, b, m, key, value)
	case b != nil:
		j := objects.NewJSON(v.Out, true)
		err := formatted(v, j, b, m, key, value)
		j.Line()
		return err
	}
	plainElem(v, m, key, value)
	return nil
}

func dump(v *objects.Verb) error {
	list, err := v.Maps()
	if err != nil {
		return err
	}
	if err := v.End(); err != nil {
		return err
	}
	infos := make([]*linux.MapInfo, len(list))
	typed := true // all have types
	for i, o := range list {
		defer o.Close()
		if infos[i], err = o.Map(); err != nil {
			return err
		}
		typed = typed && infos[i].BTFID != 0
	}
	j := v.J
	if j == nil && typed {
		j = objects.NewJSON(v.Out, true) // what people get of types is nearly JSON
		defer j.Line()
	}
	several := len(list) > 1
	if j != nil && several {
		j.Array()
		defer j.EndArray()
	}
	for i, o := range list {
		if err := dumpOne(v, j, o, infos[i], several); err != nil {
			return err
		}
		if j == nil && i+1 < len(list) {
			v.Printf("\n")
		}
	}
	return nil
}

// dumpOne writes a map's elements: as JSON or like JSON into j, else as bytes.
func dumpOne(v *objects.Verb, j *objects.JSON, o *linux.Object, m *linux.MapInfo, several bool) (err error) {
	var b *rawbtf.BTF
	if j != nil {
		if b, err = typesOf(v, m); err != nil {
			return err
		}
		if several {
			hold := v.J
			v.J = j
			j.Object()
			header(v, m)
			v.J = hold
			j.Name("elements")
			defer j.EndObject()
		}
		j.Array()
		defer j.EndArray()
	} else if several {
		header(v, m)
	}
	d := dumper{v: v, j: j, b: b, m: m}
	err = d.elements(o)
	if j == nil && err == nil {
		plural := "s"
		if d.n == 1 {
			plural = ""
		}
		v.Printf("Found %d element%s\n", d.n, plural)
	}
	return err
}

// dumper writes the elements of one map.
type dumper struct {
	v *objects.Verb
	j *objects.JSON
	b *rawbtf.BTF
	m *linux.MapInfo
	n int // elements written
}

func (d *dumper) elements(o *linux.Object) error {
	value, err := valueRoom(d.m)
	if err != nil {
		return err
	}
	m := o.AsMap()
	key, next := []byte(nil), make([]byte, d.m.KeySize)
	for {
		if err := m.NextKey(key, next); err != nil {
			if errors.Is(err, errno.ENOENT) {
				return nil
			}
			return err
		}
		if err := m.Lookup(next, value, 0); err != nil {
			d.missing(next, err)
		} else if err := d.element(next, value); err != nil {
			return err
		}
		if key == nil {
			key = make([]byte, len(next))
		}
		copy(key, next)
	}
}

func (d *dumper) element(key, value []byte) error {
	d.n++
	switch {
	case d.v.J != nil:
		return jsonElem(d.v, d.b, d.m, key, value)
	case d.b != nil:
		return formatted(d.v, d.j, d.b, d.m, key, value)
	}
	plainElem(d.v, d.m, key, value)
	return nil
}

// missing says that the value of a key cannot be read. In maps of maps and of
// programs it says no more than that there is none.
func (d *dumper) missing(key []byte, err error) {
	switch d.m.Type {
	case catalog.MapArrayOfMaps, catalog.MapHashOfMaps, catalog.MapProgArray:
		if errors.Is(err, errno.ENOENT) {
			return
		}
	}
	text := err.Error()
	if e := errno.Errno(0); errors.As(err, &e) {
		text = e.Error()
	}
	if d.v.J != nil {
		d.j.Object()
		d.j.Name("key")
		d.j.Bytes(key)
		d.j.Name("value")
		d.j.Object()
		d.j.Field("error", text)
		d.j.EndObject()
		d.j.EndObject()
		return
	}
	if errors.Is(err, errno.ENOENT) {
		text = "<no entry>"
	}
	long := len(key) > longPart || len(text) > longPart
	keyPart(d.v, key, long, len(text))
	d.v.Printf("value:%s%s\n", gap(long), text)
}
