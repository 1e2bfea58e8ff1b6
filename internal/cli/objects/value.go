package objects

import (
	"encoding/binary"
	"fmt"
	"math/bits"
	"strings"

	"github.com/skep-bpf/skep/internal/rawbtf"
)

// Values writes bytes by their BTF types, in the form of bpftool map dump: as
// JSON, or as what it shows people, which is nearly that. (internal/btfval
// writes what is easier to read, and reads it back.)
type Values struct {
	J    *JSON
	BTF  *rawbtf.BTF
	Text bool // pointers and characters as people write them, not as JSON has them
	// Prog, if not nil, names the program behind an id that stands where a pointer to a function is.
	Prog func(id uint32) string

	left int // what may still be written: types may be hostile
}

// maxDepth bounds how deep a value is followed into its parts.
const maxDepth = 64

// Write writes a value; data may be longer than it.
func (w *Values) Write(id uint32, data []byte) error {
	w.left = 4096 + 16*len(data)
	return w.value(int(id), data, 0, 0)
}

func bad(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{rawbtf.ErrBad}, args...)...)
}

// value writes what begins at a bit of data.
func (w *Values) value(id int, data []byte, bit, depth int) error {
	if w.left--; w.left < 0 || depth > maxDepth {
		w.J.Null()
		return bad("a value of more parts than it has bytes")
	}
	if id != 0 && !w.BTF.Valid(uint32(id)) {
		w.J.Null()
		return bad("no type %d", id)
	}
	switch b := w.BTF; b.Kind(id) {
	case rawbtf.KindInt:
		return w.integer(id, data, bit)
	case rawbtf.KindStruct, rawbtf.KindUnion:
		return w.members(id, data, depth)
	case rawbtf.KindArray:
		return w.array(id, data, depth)
	case rawbtf.KindEnum, rawbtf.KindEnum64:
		return w.enum(id, data)
	case rawbtf.KindPtr:
		return w.pointer(id, data)
	case rawbtf.KindTypedef, rawbtf.KindVolatile, rawbtf.KindConst, rawbtf.KindRestrict, rawbtf.KindTypeTag:
		return w.value(int(b.Word(id, 2)), data, bit, depth+1)
	case rawbtf.KindVar:
		w.J.Object()
		defer w.J.EndObject()
		w.J.Name(b.Name(id))
		return w.value(int(b.Word(id, 2)), data, bit, depth+1)
	case rawbtf.KindDatasec:
		return w.section(id, data, depth)
	}
	w.J.Null()
	return bad("type %d is a %s, which has no values", id, w.BTF.Kind(id))
}

// enough takes n bytes of data.
func enough(data []byte, n int) ([]byte, error) {
	if n < 0 || n > len(data) {
		return nil, bad("a value of %d bytes in %d", n, len(data))
	}
	return data[:n], nil
}

// Encodings of integers.
const (
	encSigned = 1 << iota
	encChar
	encBool
)

func (w *Values) integer(id int, data []byte, bit int) error {
	word := w.BTF.Word(id, 3)
	enc, off, n := word>>24&0xf, int(word>>16&0xff), int(word&0xff)
	if bit != 0 || off != 0 || n%8 != 0 {
		return w.bits(data, bit+off, n)
	}
	data, err := enough(data, n/8)
	if err != nil {
		w.J.Null()
		return err
	}
	switch {
	case n == 128:
		w.wide(w.BTF.Order.Uint64(data[8*w.big(0, 1):]), w.BTF.Order.Uint64(data[8*w.big(1, 0):]))
		return nil
	case n == 0 || n > 64 || n&(n-1) != 0:
		return w.bits(data, 0, n)
	}
	v := w.uint(data)
	switch enc {
	case 0:
		w.J.Raw("%d", v)
	case encSigned:
		w.J.Raw("%d", int64(v<<(64-n))>>(64-n))
	case encChar:
		switch c := byte(v); {
		case c == '"' || c == '\\':
			w.J.String(string(rune(c)))
		case c >= ' ' && c <= '~':
			w.J.Raw(`"%c"`, c)
		case w.Text:
			w.J.Raw("%#x", c)
		default:
			w.J.Raw(`"\u00%02x"`, c)
		}
	case encBool:
		w.J.Raw("%v", v&0xff != 0)
	default:
		w.J.Null()
		return bad("integer %d of encoding %#x", id, enc)
	}
	return nil
}

// big is a on little-endian targets and b on others.
func (w *Values) big(a, b int) int {
	if w.BTF.Order.Uint16([]byte{0, 1}) == 1 {
		return b
	}
	return a
}

// uint reads 1, 2, 4 or 8 bytes.
func (w *Values) uint(b []byte) uint64 {
	switch len(b) {
	case 1:
		return uint64(b[0])
	case 2:
		return uint64(w.BTF.Order.Uint16(b))
	case 4:
		return uint64(w.BTF.Order.Uint32(b))
	}
	return w.BTF.Order.Uint64(b)
}

// bits writes n bits that begin at a bit of data, as a hexadecimal number.
func (w *Values) bits(data []byte, bit, n int) error {
	data = data[min(bit/8, len(data)):]
	bit %= 8
	part, err := enough(data, (bit+n+7)/8)
	if err != nil || n > 128 || len(part) > 16 {
		w.J.Null()
		return bad("%d bits at bit %d", n, bit)
	}
	var raw [16]byte
	copy(raw[:], part)
	lo, hi := binary.LittleEndian.Uint64(raw[:]), binary.LittleEndian.Uint64(raw[8:])
	if w.big(0, 1) == 1 { // bits count from the top of the first byte
		hi, lo = binary.BigEndian.Uint64(raw[:]), binary.BigEndian.Uint64(raw[8:])
		bit = 128 - bit - n
	}
	lo, hi = shiftRight(lo, hi, bit)
	switch {
	case n < 64:
		lo, hi = lo&(1<<n-1), 0
	case n < 128:
		hi &= 1<<(n-64) - 1
	}
	w.wide(lo, hi)
	return nil
}

func shiftRight(lo, hi uint64, n int) (uint64, uint64) {
	if n >= 64 {
		return hi >> (n - 64), 0
	}
	return lo>>n | bits.RotateLeft64(hi, -n)&^(^uint64(0)>>n), hi >> n
}

// wide writes a number of up to 128 bits.
func (w *Values) wide(lo, hi uint64) {
	text := fmt.Sprintf("%#x", lo)
	if hi != 0 {
		text = fmt.Sprintf("%#x%016x", hi, lo)
	}
	if !w.Text {
		text = `"` + text + `"`
	}
	w.J.Raw("%s", text)
}

func (w *Values) enum(id int, data []byte) error {
	b := w.BTF
	size := int(b.Word(id, 2))
	if size != 1 && size != 2 && size != 4 && size != 8 {
		w.J.Null()
		return bad("enum %d of %d bytes", id, size)
	}
	data, err := enough(data, size)
	if err != nil {
		w.J.Null()
		return err
	}
	v := int64(w.uint(data)<<(64-8*size)) >> (64 - 8*size)
	for i := range b.Vlen(id) {
		var name uint32
		var val int64
		if b.Kind(id) == rawbtf.KindEnum64 {
			name, val = b.Word(id, 3+3*i), int64(uint64(b.Word(id, 5+3*i))<<32|uint64(b.Word(id, 4+3*i)))
		} else {
			name, val = b.Word(id, 3+2*i), int64(int32(b.Word(id, 4+2*i)))
		}
		if val == v {
			w.J.String(b.Str(name))
			return nil
		}
	}
	w.J.Raw("%d", v)
	return nil
}

func (w *Values) pointer(id int, data []byte) error {
	data, err := enough(data, 8)
	if err != nil {
		w.J.Null()
		return err
	}
	v := w.BTF.Order.Uint64(data)
	if w.Prog != nil && v>>32 == 0 {
		if to := w.plain(int(w.BTF.Word(id, 2))); w.BTF.Kind(to) == rawbtf.KindFuncProto {
			text := Signature(w.BTF, to)
			if v == 0 {
				text += " 0"
			} else {
				text += fmt.Sprintf(" %s/prog_id:%d", w.Prog(uint32(v)), v)
			}
			w.J.String(text)
			return nil
		}
	}
	switch {
	case !w.Text:
		w.J.Raw("%d", v)
	case v == 0:
		w.J.Raw("(nil)")
	default:
		w.J.Raw("%#x", v)
	}
	return nil
}

// plain goes past names and qualifiers of a type.
func (w *Values) plain(id int) int { return plain(w.BTF, id, true) }

func plain(b *rawbtf.BTF, id int, typedefs bool) int {
	for range maxDepth {
		if !b.Valid(uint32(id)) {
			return 0
		}
		switch b.Kind(id) {
		case rawbtf.KindTypedef:
			if !typedefs {
				return id
			}
			id = int(b.Word(id, 2))
		case rawbtf.KindVolatile, rawbtf.KindConst, rawbtf.KindRestrict, rawbtf.KindTypeTag, rawbtf.KindVar:
			id = int(b.Word(id, 2))
		default:
			return id
		}
	}
	return 0
}

func (w *Values) members(id int, data []byte, depth int) error {
	b := w.BTF
	w.J.Object()
	defer w.J.EndObject()
	for i := range b.Vlen(id) {
		name, typ, off := b.Str(b.Word(id, 3+3*i)), int(b.Word(id, 4+3*i)), b.Word(id, 5+3*i)
		var width uint32
		if b.Flag(id) {
			width, off = off>>24, off&0xffffff
		}
		w.J.Name(name)
		at := data[min(int(off/8), len(data)):]
		var err error
		if width != 0 {
			err = w.bits(at, int(off%8), int(width))
		} else {
			err = w.value(typ, at, int(off%8), depth+1)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (w *Values) section(id int, data []byte, depth int) error {
	b := w.BTF
	w.J.Object()
	defer w.J.EndObject()
	w.J.Name(b.Name(id))
	w.J.Array()
	defer w.J.EndArray()
	for i := range b.Vlen(id) {
		at := rawbtf.SecVar(i)
		if err := w.value(int(b.Word(id, at)), data[min(uint64(b.Word(id, at+1)), uint64(len(data))):], 0, depth+1); err != nil {
			return err
		}
	}
	return nil
}

func (w *Values) array(id int, data []byte, depth int) error {
	b := w.BTF
	elem, n := int(b.Word(id, 3)), int(b.Word(id, 5))
	if s, ok := w.text(elem, n, data); ok {
		w.J.String(s)
		return nil
	}
	w.J.Array()
	defer w.J.EndArray()
	size, ok := sizeOf(b, elem, 0)
	if !ok {
		return bad("array %d of what has no size", id)
	}
	for i := range n {
		if err := w.value(elem, data[min(i*size, len(data)):], 0, depth+1); err != nil {
			return err
		}
	}
	return nil
}

// text is the string in an array of characters; a typedef of char is none.
func (w *Values) text(elem, n int, data []byte) (string, bool) {
	b := w.BTF
	if elem = plain(b, elem, false); n == 0 || n > len(data) || b.Kind(elem) != rawbtf.KindInt || b.Word(elem, 2) != 1 ||
		b.Word(elem, 3)>>24&0xf != encChar && b.Name(elem) != "char" {
		return "", false
	}
	for i, c := range data[:n] {
		switch {
		case c == 0:
			return string(data[:i]), true
		case c <= 0x1f || c >= 0x7f:
			return "", false
		}
	}
	return "", false
}

// sizeOf is a type's size in bytes.
func sizeOf(b *rawbtf.BTF, id, depth int) (int, bool) {
	if !b.Valid(uint32(id)) || depth > maxDepth {
		return 0, false
	}
	switch b.Kind(id) {
	case rawbtf.KindInt, rawbtf.KindStruct, rawbtf.KindUnion, rawbtf.KindEnum, rawbtf.KindEnum64, rawbtf.KindFloat, rawbtf.KindDatasec:
		return int(b.Word(id, 2)), true
	case rawbtf.KindPtr:
		return 8, true
	case rawbtf.KindArray:
		n, ok := sizeOf(b, int(b.Word(id, 3)), depth+1)
		total := uint64(n) * uint64(b.Word(id, 5))
		return int(total), ok && total < 1<<31
	case rawbtf.KindTypedef, rawbtf.KindVolatile, rawbtf.KindConst, rawbtf.KindRestrict, rawbtf.KindTypeTag, rawbtf.KindVar:
		return sizeOf(b, int(b.Word(id, 2)), depth+1)
	}
	return 0, false
}

// Signature is a type as C has it, a function with its parameters, as far as
// bpftool does; "" for what it has no words for.
func Signature(b *rawbtf.BTF, id int) string {
	s := signer{b: b}
	s.typ(id, 0)
	if s.failed || s.Len() >= 1024 {
		return ""
	}
	return s.String()
}

type signer struct {
	strings.Builder
	b      *rawbtf.BTF
	failed bool
}

func (s *signer) typ(id, depth int) {
	b := s.b
	if depth > maxDepth || s.Len() > 4096 || id != 0 && !b.Valid(uint32(id)) {
		s.failed = true
		return
	}
	switch k := b.Kind(id); k {
	case rawbtf.KindVoid:
		s.WriteString("void ")
	case rawbtf.KindInt, rawbtf.KindTypedef, rawbtf.KindFloat:
		s.WriteString(b.Name(id) + " ")
	case rawbtf.KindStruct:
		s.WriteString("struct " + b.Name(id) + " ")
	case rawbtf.KindUnion:
		s.WriteString("union " + b.Name(id) + " ")
	case rawbtf.KindEnum, rawbtf.KindEnum64:
		s.WriteString("enum " + b.Name(id) + " ")
	case rawbtf.KindFwd:
		if b.Flag(id) {
			s.WriteString("union " + b.Name(id) + " ")
		} else {
			s.WriteString("struct " + b.Name(id) + " ")
		}
	case rawbtf.KindArray:
		s.typ(int(b.Word(id, 3)), depth+1)
		fmt.Fprintf(s, "[%d]", b.Word(id, 5))
	case rawbtf.KindPtr:
		s.typ(int(b.Word(id, 2)), depth+1)
		s.WriteString("* ")
	case rawbtf.KindVolatile, rawbtf.KindConst, rawbtf.KindRestrict:
		s.WriteString(map[rawbtf.Kind]string{rawbtf.KindVolatile: "volatile ", rawbtf.KindConst: "const ", rawbtf.KindRestrict: "restrict "}[k])
		s.typ(int(b.Word(id, 2)), depth+1)
	case rawbtf.KindTypeTag:
		s.typ(int(b.Word(id, 2)), depth+1)
	case rawbtf.KindFuncProto:
		s.function(id, "", depth)
	case rawbtf.KindFunc:
		s.function(int(b.Word(id, 2)), b.Name(id), depth)
	default:
		s.failed = true
	}
}

func (s *signer) function(proto int, name string, depth int) {
	b := s.b
	if !b.Valid(uint32(proto)) || b.Kind(proto) != rawbtf.KindFuncProto {
		s.failed = true
		return
	}
	s.typ(int(b.Word(proto, 2)), depth+1)
	s.WriteString(name + "(")
	for i := range b.Vlen(proto) {
		if i > 0 {
			s.WriteString(", ")
		}
		arg, typ := b.Str(b.Word(proto, 3+2*i)), int(b.Word(proto, 4+2*i))
		if typ == 0 {
			s.WriteString("...")
			continue
		}
		s.typ(typ, depth+1)
		if arg != "" {
			s.WriteString(arg)
		} else if text := s.String(); strings.HasSuffix(text, " ") {
			s.Reset()
			s.WriteString(text[:len(text)-1])
		}
	}
	s.WriteString(")")
}
