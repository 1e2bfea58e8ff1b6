package bprintf

import (
	"bytes"
	"encoding/binary"
	"strconv"
)

// textWriter writes into a buffer, keeps room for a zero byte, and counts what
// the whole text would take.
type textWriter struct {
	buf []byte
	n   int
}

func (w *textWriter) byte(c byte) {
	if w.n < len(w.buf)-1 {
		w.buf[w.n] = c
	}
	w.n++
}

func (w *textWriter) bytes(s []byte) {
	if w.n < len(w.buf)-1 {
		copy(w.buf[w.n:len(w.buf)-1], s)
	}
	w.n += len(s)
}

func (w *textWriter) pad(c byte, n int) {
	if n <= 0 {
		return
	}
	for i := w.n; i < min(w.n+n, len(w.buf)-1); i++ {
		w.buf[i] = c
	}
	w.n += n
}

// full reports whether the whole buffer has been written to, or past.
func (w *textWriter) full() bool { return w.n >= len(w.buf) }

// close ends the text with its zero byte.
func (w *textWriter) close() {
	if len(w.buf) > 0 {
		w.buf[min(w.n, len(w.buf)-1)] = 0
	}
}

// verb is one conversion of a format: %[flags][width]letters.
type verb struct {
	left, zero, plus, space bool
	width                   int
}

// maxWidth is the widest field the kernel keeps (FIELD_WIDTH_MAX).
const maxWidth = 1<<23 - 1

// parse reads flags and width at i and returns the position after them.
func (v *verb) parse(format []byte, i int) int {
	for flags := true; flags; {
		switch charAt(format, i) {
		case '0':
			v.zero = true
		case '+':
			v.plus = true
		case '-':
			v.left = true
		case ' ':
			v.space = true
		default:
			flags = false
			continue
		}
		i++
	}
	for ; charAt(format, i) >= '0' && charAt(format, i) <= '9'; i++ {
		v.width = min(v.width*10+int(format[i]-'0'), maxWidth)
	}
	return i
}

// argReader reads the arguments that a Formatter holds.
type argReader []byte

func (r *argReader) word(size int) uint64 {
	skip := -(maxBinArgs - len(*r)) & 3
	if len(*r) < skip+size {
		*r = nil
		return 0
	}
	v := uint64(binary.NativeEndian.Uint32((*r)[skip:]))
	if size == 8 {
		v = binary.NativeEndian.Uint64((*r)[skip:])
	}
	*r = (*r)[skip+size:]
	return v
}

func (r *argReader) char() byte {
	if len(*r) == 0 {
		return 0
	}
	c := (*r)[0]
	*r = (*r)[1:]
	return c
}

func (r *argReader) text() []byte {
	n := bytes.IndexByte(*r, 0)
	if n < 0 {
		n = len(*r)
	}
	s := (*r)[:n]
	*r = (*r)[min(n+1, len(*r)):]
	return s
}

// render writes a format that prepare has found well formed.
func (w *textWriter) render(format []byte, bin []byte) {
	args := argReader(bin)
	for i := 0; i < len(format); i++ {
		if format[i] != '%' {
			w.byte(format[i])
			continue
		}
		i++
		if charAt(format, i) == '%' {
			w.byte('%')
			continue
		}
		var v verb
		i = v.parse(format, i)
		switch format[i] {
		case 'c':
			c := [1]byte{args.char()}
			w.field(v, c[:])
		case 's':
			w.field(v, args.text())
		case 'p':
			w.pointer(v, charAt(format, i+1), &args)
			for isAlnum(charAt(format, i+1)) { // all letters and digits belong to it
				i++
			}
		default:
			size := 4
			for ; format[i] == 'l'; i++ {
				size = 8
			}
			w.integer(v, format[i], size, args.word(size))
		}
	}
}

// pointer writes %p and its kin; mod is what follows the p. The kernel prints %p
// and %pK as a hash under a random key, skep as one that does not change.
func (w *textWriter) pointer(v verb, mod byte, args *argReader) {
	switch {
	case mod == 's' || mod == 'S':
		var digits [18]byte
		w.field(v, appendHex(append(digits[:0], "0x"...), args.word(8), false))
		return
	case isAlnum(mod) && mod != 'K' && mod != 'x':
		if !w.full() { // else the kernel neither counts the text nor passes it
			w.bytes(args.text())
		}
		return
	}
	const errValues = ^uint64(0) - 4095 // error pointers and NULL are no secret
	addr := args.word(8)
	if mod != 'x' && addr != 0 && addr <= errValues {
		addr = addr * 0x9e3779b97f4a7c15 >> 32
	}
	if v.width == 0 {
		v.width, v.zero = 16, true
	}
	var digits [16]byte
	w.number(v, 0, appendHex(digits[:0], addr, false))
}

// integer writes %d, %i, %u, %x and %X of 4 or 8 bytes.
func (w *textWriter) integer(v verb, conv byte, size int, arg uint64) {
	var digits [24]byte
	switch conv {
	case 'u':
		w.number(v, 0, strconv.AppendUint(digits[:0], arg, 10))
		return
	case 'x', 'X':
		w.number(v, 0, appendHex(digits[:0], arg, conv == 'X'))
		return
	}
	n := int64(arg)
	if size == 4 {
		n = int64(int32(arg))
	}
	sign := byte(0)
	switch {
	case n < 0:
		sign = '-'
	case v.plus:
		sign = '+'
	case v.space:
		sign = ' '
	}
	magnitude := uint64(n)
	if n < 0 {
		magnitude = -magnitude
	}
	w.number(v, sign, strconv.AppendUint(digits[:0], magnitude, 10))
}

// number writes a sign and digits in a field.
func (w *textWriter) number(v verb, sign byte, digits []byte) {
	fill := v.width - len(digits)
	if sign != 0 {
		fill--
	}
	if !v.left && !v.zero {
		w.pad(' ', fill)
	}
	if sign != 0 {
		w.byte(sign)
	}
	if !v.left && v.zero {
		w.pad('0', fill)
	}
	w.bytes(digits)
	if v.left {
		w.pad(' ', fill)
	}
}

// field writes text in a field, filled with spaces.
func (w *textWriter) field(v verb, s []byte) {
	if !v.left {
		w.pad(' ', v.width-len(s))
	}
	w.bytes(s)
	if v.left {
		w.pad(' ', v.width-len(s))
	}
}

const (
	lowerHex = "0123456789abcdef"
	upperHex = "0123456789ABCDEF"
)

// appendHex appends v in base 16 without prefix.
func appendHex(s []byte, v uint64, upper bool) []byte {
	set := lowerHex
	if upper {
		set = upperHex
	}
	shift := 60
	for shift > 0 && v>>shift == 0 {
		shift -= 4
	}
	for ; shift >= 0; shift -= 4 {
		s = append(s, set[v>>shift&15])
	}
	return s
}

// isSpace, isPrint, isPunct and isAlnum are the kernel's; but for the no-break
// space of Latin-1 they know ASCII only.
func isSpace(c byte) bool { return c == ' ' || c >= '\t' && c <= '\r' || c == 0xa0 }

func isPrint(c byte) bool { return c >= ' ' && c < 0x7f }

func isPunct(c byte) bool { return isPrint(c) && c != ' ' && !isAlnum(c) }

func isAlnum(c byte) bool { return c >= '0' && c <= '9' || c|0x20 >= 'a' && c|0x20 <= 'z' }
