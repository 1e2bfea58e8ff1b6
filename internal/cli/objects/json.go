package objects

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
)

// JSON writes JSON piece by piece, laid out as bpftool lays it out:
//
//	[{
//	        "id": 7,
//	        "map_ids": [1,2
//	        ]
//	    }
//	]
type JSON struct {
	out    *bufio.Writer
	indent bool
	depth  int
	comma  bool // what comes next follows something
}

// NewJSON returns a writer; indent is for people.
func NewJSON(out *bufio.Writer, indent bool) *JSON { return &JSON{out: out, indent: indent} }

func (j *JSON) separate() {
	if j.comma {
		j.out.WriteByte(',')
	}
	j.comma = true
}

func (j *JSON) line() {
	if j.indent {
		j.out.WriteString("\n" + strings.Repeat("    ", j.depth))
	}
}

func (j *JSON) begin(c byte) {
	j.separate()
	j.out.WriteByte(c)
	j.depth++
	j.comma = false
}

func (j *JSON) end(c byte) {
	j.depth--
	if j.comma {
		j.line()
	}
	j.out.WriteByte(c)
	j.comma = true
}

// Object and EndObject stand around the fields of an object.
func (j *JSON) Object() { j.begin('{') }

// EndObject is described with Object.
func (j *JSON) EndObject() { j.end('}') }

// Array and EndArray stand around the elements of an array.
func (j *JSON) Array() { j.begin('[') }

// EndArray is described with Array.
func (j *JSON) EndArray() { j.end(']') }

// Name begins a field, whose value follows.
func (j *JSON) Name(name string) {
	j.separate()
	j.line()
	j.comma = false
	j.quote(name)
	j.out.WriteByte(':')
	if j.indent {
		j.out.WriteByte(' ')
	}
}

func (j *JSON) quote(s string) {
	enc, err := json.Marshal(s) // which makes foreign bytes valid UTF-8
	if err != nil {
		panic("BUG: a string does not marshal: " + err.Error())
	}
	j.out.WriteString(unescape.Replace(string(enc)))
}

// unescape undoes what encoding/json does for the sake of HTML.
var unescape = strings.NewReplacer(`\u003c`, "<", `\u003e`, ">", `\u0026`, "&")

// Raw writes a value as it is formatted: it has to be JSON.
func (j *JSON) Raw(format string, args ...any) {
	j.separate()
	fmt.Fprintf(j.out, format, args...)
}

// String writes a string.
func (j *JSON) String(s string) {
	j.separate()
	j.quote(s)
}

// Field writes a field with a string, a truth value or a number.
func (j *JSON) Field(name string, value any) {
	j.Name(name)
	switch v := value.(type) {
	case string:
		j.String(v)
	default:
		j.Raw("%v", v)
	}
}

// Bytes writes an array of bytes like "0x0f".
func (j *JSON) Bytes(data []byte) {
	j.Array()
	for _, b := range data {
		j.Raw(`"0x%02x"`, b)
	}
	j.EndArray()
}

// Numbers writes an array of bytes like 15.
func (j *JSON) Numbers(data []byte) {
	j.Array()
	for _, b := range data {
		j.Raw("%d", b)
	}
	j.EndArray()
}

// Null writes a null.
func (j *JSON) Null() { j.Raw("null") }

// Line ends what was written with a line break, after which something new can begin.
func (j *JSON) Line() {
	j.out.WriteByte('\n')
	j.comma = false
}

// Value writes what encoding/json makes of a value.
func (j *JSON) Value(v any) error {
	text, err := json.Marshal(v)
	if err != nil {
		return err
	}
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	return j.copyValue(dec)
}

// copyValue copies one value, in the order it has.
func (j *JSON) copyValue(dec *json.Decoder) error {
	tok, err := dec.Token()
	if err != nil {
		return err
	}
	switch tok := tok.(type) {
	case json.Delim:
		if tok == '{' {
			j.Object()
		} else {
			j.Array()
		}
		for dec.More() {
			if tok == '{' {
				name, err := dec.Token()
				if err != nil {
					return err
				}
				j.Name(name.(string))
			}
			if err := j.copyValue(dec); err != nil {
				return err
			}
		}
		if tok == '{' {
			j.EndObject()
		} else {
			j.EndArray()
		}
		_, err = dec.Token()
		return err
	case string:
		j.String(tok)
	case nil:
		j.Null()
	default:
		j.Raw("%v", tok)
	}
	return nil
}
