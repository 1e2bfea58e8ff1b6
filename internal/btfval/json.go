package btfval

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"strconv"

	"github.com/cilium/ebpf/btf"
)

// JSON returns data in the form bpftool's map dump -j has: numbers as they lie
// in memory (no conversion of network order), enums by name, char arrays as
// strings where they are such, data sections as {"name": [{"variable": …}, …]}.
// Without a type it is an array of bytes like "0x0c". Where bpftool's form is of
// little use it is not followed: members of anonymous structs are the outer
// one's (bpftool gives several the name ""), bit fields are numbers with their
// sign (bpftool: "0x1f"), and floats are numbers.
func JSON(t btf.Type, data []byte, order binary.ByteOrder) json.RawMessage {
	n, ok := fits(t, data)
	j := jsonWriter{order: order, left: maxNodes(n)}
	if ok {
		j.value(t, data[:n], 0)
	} else {
		j.raw(data)
	}
	return j.buf
}

// JSONPerCPU is [JSON] for the value of a per-CPU map:
// [{"cpu": 0, "value": …}, …].
func JSONPerCPU(t btf.Type, size int, data []byte, order binary.ByteOrder) json.RawMessage {
	out := []byte{'['}
	for cpu, v := range PerCPU(size, data) {
		if cpu > 0 {
			out = append(out, ',')
		}
		out = fmt.Appendf(out, `{"cpu":%d,"value":%s}`, cpu, JSON(t, v, order))
	}
	return append(out, ']')
}

// jsonWriter writes one value as JSON.
type jsonWriter struct {
	buf   []byte
	order binary.ByteOrder
	left  int // members and elements that may still be written
}

func (j *jsonWriter) write(s string) { j.buf = append(j.buf, s...) }

func (j *jsonWriter) string(s string) {
	b, err := json.Marshal(s)
	if err != nil {
		panic("BUG: a string does not marshal: " + err.Error())
	}
	j.buf = append(j.buf, b...)
}

func (j *jsonWriter) raw(data []byte) {
	j.write("[")
	for i, c := range data {
		if i > 0 {
			j.write(",")
		}
		j.write(fmt.Sprintf(`"0x%02x"`, c))
	}
	j.write("]")
}

func (j *jsonWriter) value(t btf.Type, data []byte, depth int) {
	if j.left--; j.left < 0 || depth > maxDepth {
		j.write("null")
		return
	}
	t = btf.UnderlyingType(t)
	switch t := t.(type) {
	case *btf.Var:
		j.value(t.Type, data, depth+1)
	case *btf.Int:
		j.integer(t, data)
	case *btf.Enum:
		j.enum(t, readUint(data[:min(8, len(data))], j.order))
	case *btf.Float:
		if v, bits, ok := float(data, j.order); ok && v-v == 0 { // JSON has no NaN, no infinity
			j.write(strconv.FormatFloat(v, 'g', -1, bits))
			return
		}
		j.raw(data)
	case *btf.Pointer:
		j.write(strconv.FormatUint(readUint(data, j.order), 10))
	case *btf.Array:
		j.array(t, data, depth)
	case *btf.Datasec:
		j.datasec(t, data, depth)
	case *btf.Struct, *btf.Union:
		list, _ := members(t)
		j.write("{")
		j.fields(list, data, depth, false)
		j.write("}")
	default:
		j.raw(data)
	}
}

func (j *jsonWriter) integer(t *btf.Int, data []byte) {
	if len(data) > 8 || len(data) == 0 {
		j.wide(data)
		return
	}
	j.number(t, readUint(data, j.order), 8*len(data))
}

// wide writes a 128-bit integer, which JSON numbers do not carry safely.
func (j *jsonWriter) wide(data []byte) {
	s := ""
	for _, c := range data {
		if isBig(j.order) {
			s += fmt.Sprintf("%02x", c)
		} else {
			s = fmt.Sprintf("%02x", c) + s
		}
	}
	for len(s) > 1 && s[0] == '0' {
		s = s[1:]
	}
	j.string("0x" + s)
}

func (j *jsonWriter) number(t *btf.Int, n uint64, bits int) {
	switch {
	case t.Encoding == btf.Signed:
		j.write(strconv.FormatInt(signExtend(n, bits), 10))
	case t.Encoding == btf.Bool:
		j.write(strconv.FormatBool(n != 0))
	default:
		j.write(strconv.FormatUint(n, 10))
	}
}

func (j *jsonWriter) enum(t *btf.Enum, n uint64) {
	if name, ok := enumName(t, n); ok {
		j.string(name)
	} else if t.Signed {
		j.write(strconv.FormatInt(signExtend(n, 8*int(t.Size)), 10))
	} else {
		j.write(strconv.FormatUint(n, 10))
	}
}

func (j *jsonWriter) fields(list []btf.Member, data []byte, depth int, wrote bool) bool {
	for _, m := range list {
		if j.left--; j.left < 0 {
			break
		}
		part, lies := slice(m, data)
		if m.BitfieldSize == 0 && m.Name == "" && depth < maxDepth && lies {
			if inner, ok := members(btf.UnderlyingType(m.Type)); ok {
				wrote = j.fields(inner, part, depth+1, wrote)
				continue
			}
		}
		if wrote {
			j.write(",")
		}
		wrote = true
		j.string(m.Name)
		j.write(":")
		switch {
		case m.BitfieldSize > 0:
			j.bitfield(m, data)
		case lies:
			j.value(m.Type, part, depth+1)
		default:
			j.write("null")
		}
	}
	return wrote
}

func (j *jsonWriter) bitfield(m btf.Member, data []byte) {
	n, ok := bitfield(m, data, j.order)
	if !ok {
		j.write("null")
		return
	}
	switch t := btf.UnderlyingType(m.Type).(type) {
	case *btf.Enum:
		if t.Signed {
			n = uint64(signExtend(n, int(m.BitfieldSize)))
		}
		j.enum(t, n)
	case *btf.Int:
		j.number(t, n, int(m.BitfieldSize))
	default:
		j.write(strconv.FormatUint(n, 10))
	}
}

func (j *jsonWriter) array(t *btf.Array, data []byte, depth int) {
	if isChar(t.Type) {
		if s, ok := text(data); ok {
			j.string(s)
			return
		}
	}
	j.write("[")
	size, ok := sizeOf(t.Type)
	for i := 0; ok && size > 0 && len(data) >= size && j.left >= 0; i++ {
		if i > 0 {
			j.write(",")
		}
		j.value(t.Type, data[:size], depth+1)
		data = data[size:]
	}
	j.write("]")
}

func (j *jsonWriter) datasec(t *btf.Datasec, data []byte, depth int) {
	j.write("{")
	j.string(t.Name)
	j.write(":[")
	list, _ := members(t)
	for i, m := range list {
		if i > 0 {
			j.write(",")
		}
		j.write("{")
		j.fields([]btf.Member{m}, data, depth, false)
		j.write("}")
	}
	j.write("]}")
}
