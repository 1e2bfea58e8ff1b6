package iproute

import (
	"encoding/json"
	"strconv"
	"strings"
)

// JSON writes JSON as iproute2 does, on one line or, pretty, with its own idea of
// where lines end. Names stay in the order they come.
type JSON struct {
	b      strings.Builder
	pretty bool
	open   []byte // what closes what is open
	comma  bool   // something stands before, at this depth
}

// NewJSON starts a document, which is an array.
func NewJSON(pretty bool) *JSON {
	w := &JSON{pretty: pretty}
	w.Array()
	return w
}

// Done ends the document, with a newline.
func (w *JSON) Done() string {
	for len(w.open) > 0 {
		w.End()
	}
	return w.b.String() + "\n"
}

func (w *JSON) line() {
	if w.pretty {
		w.b.WriteString("\n" + strings.Repeat("    ", len(w.open)))
	}
}

func (w *JSON) sep() {
	if w.comma {
		w.b.WriteByte(',')
	}
	w.comma = true
}

// Object and Array begin one, which End ends.
func (w *JSON) Object() *JSON { return w.begin('{', '}') }

// Array is described with Object.
func (w *JSON) Array() *JSON {
	w.begin('[', ']')
	if w.pretty {
		w.b.WriteByte(' ')
	}
	return w
}

func (w *JSON) begin(open, end byte) *JSON {
	w.sep()
	w.b.WriteByte(open)
	w.open = append(w.open, end)
	w.comma = false
	return w
}

// End is described with Object.
func (w *JSON) End() *JSON {
	end := w.open[len(w.open)-1]
	w.open = w.open[:len(w.open)-1]
	switch {
	case end == '}' && w.comma:
		w.line()
	case end == ']' && w.comma && w.pretty:
		w.b.WriteByte(' ')
	}
	w.b.WriteByte(end)
	w.comma = true
	return w
}

// Name begins a member.
func (w *JSON) Name(name string) *JSON {
	w.sep()
	w.line()
	w.comma = false
	w.quote(name)
	w.b.WriteByte(':')
	if w.pretty {
		w.b.WriteByte(' ')
	}
	return w
}

func (w *JSON) quote(s string) {
	text, _ := json.Marshal(s)
	w.b.Write(text)
}

// String, Uint and Bool write a value.
func (w *JSON) String(s string) *JSON {
	w.sep()
	w.quote(s)
	return w
}

// Uint is described with String.
func (w *JSON) Uint(n uint64) *JSON {
	w.sep()
	w.b.WriteString(strconv.FormatUint(n, 10))
	return w
}

// Bool is described with String.
func (w *JSON) Bool(v bool) *JSON {
	w.sep()
	w.b.WriteString(strconv.FormatBool(v))
	return w
}
