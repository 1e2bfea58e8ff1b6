package helpers

import (
	"strconv"

	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/mem"
)

// maxBinArgs is the room the kernel keeps for a format's arguments while it
// works, in bytes (MAX_BPRINTF_BIN_ARGS); strings are copied there and cut to fit.
const maxBinArgs = 512

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

// close ends the text with its zero byte.
func (w *textWriter) close() {
	if len(w.buf) > 0 {
		w.buf[min(w.n, len(w.buf)-1)] = 0
	}
}

// verb is one conversion of a format: %[flags][width]verb.
type verb struct {
	left, zero, plus, space bool
	width                   int
}

// maxWidth is the widest field the kernel keeps (FIELD_WIDTH_MAX).
const maxWidth = 1<<23 - 1

// format renders a format with arguments into buf by the kernel's rules
// (bpf_bprintf_prepare, bstr_printf) and returns the length of the whole text.
// Allowed are
//
//	%% %c %d %i %u %x %X and with l or ll     %s %pks %pus
//	%p %pK %px %ps %pS %pB                    %pi4 %pI4 %pi6 %pI6
//
// each with flags of "0 +-" and a width. Nothing is written unless the whole
// format is well formed.
func (e *Env) format(buf, format []byte, args []uint64) (int, errno.Errno) {
	if err := e.scan(format, args, nil); err != 0 {
		return 0, err
	}
	w := textWriter{buf: buf}
	err := e.scan(format, args, &w)
	if err != 0 {
		return 0, err
	}
	w.close()
	return w.n, 0
}

// scan walks a format; with w nil it only checks it.
func (e *Env) scan(format []byte, args []uint64, w *textWriter) errno.Errno {
	room := maxBinArgs // left for arguments
	at := func(i int) byte {
		if i < len(format) {
			return format[i]
		}
		return 0
	}
	ends := func(i int) bool { c := at(i); return c == 0 || isSpace(c) || isPunct(c) }
	for i := 0; i < len(format); i++ {
		c := format[i]
		if c < 0x80 && !isPrint(c) && !isSpace(c) || c >= 0x80 && !plainHighBytes {
			return errno.EINVAL
		}
		if c != '%' {
			if w != nil {
				w.byte(c)
			}
			continue
		}
		if at(i+1) == '%' {
			i++
			if w != nil {
				w.byte('%')
			}
			continue
		}
		if len(args) == 0 {
			return errno.EINVAL
		}
		arg := args[0]
		args = args[1:]
		i++
		var v verb
		i = v.parse(format, i)
		var err errno.Errno
		switch {
		case at(i) == 'p' && ends(i+1):
			err = e.putPointer(w, v, 0, arg, &room)
		case at(i) == 'p' && (at(i+1) == 'k' || at(i+1) == 'u') && at(i+2) == 's' && ends(i+3):
			i += 2
			err = e.putString(w, v, arg, &room)
		case at(i) == 'p' && (at(i+1) == 'K' || at(i+1) == 'x' || at(i+1) == 's' || at(i+1) == 'S'):
			i++
			err = e.putPointer(w, v, at(i), arg, &room)
		case at(i) == 'p' && at(i+1) == 'B':
			i++
			err = e.putSymbol(w, arg, &room)
		case at(i) == 'p' && (at(i+1)|0x20) == 'i' && (at(i+2) == '4' || at(i+2) == '6'):
			i += 2
			err = e.putAddress(w, at(i-1) == 'I', at(i) == '4', arg, &room)
		case at(i) == 's' && ends(i+1):
			err = e.putString(w, v, arg, &room)
		case at(i) == 'c':
			err = putChar(w, v, byte(arg), &room)
		default:
			long := 0
			for long < 2 && at(i) == 'l' {
				long++
				i++
			}
			err = putInteger(w, v, at(i), long > 0, arg, &room)
		}
		if err != 0 {
			return err
		}
	}
	return 0
}

// plainHighBytes: bytes beyond ASCII may stand between conversions.
const plainHighBytes = false

// parse reads flags and width at i and returns the position after them.
func (v *verb) parse(format []byte, i int) int {
	for ; i < len(format); i++ {
		switch format[i] {
		case '0':
			v.zero = true
			continue
		case '+':
			v.plus = true
			continue
		case '-':
			v.left = true
			continue
		case ' ':
			v.space = true
			continue
		}
		break
	}
	for ; i < len(format) && format[i] >= '0' && format[i] <= '9'; i++ {
		v.width = min(v.width*10+int(format[i]-'0'), maxWidth)
	}
	return i
}

// take takes n bytes of the room for arguments, aligned to four.
func take(room *int, n int) errno.Errno {
	*room &^= 3
	if *room < n {
		return errno.ENOSPC
	}
	*room -= n
	return 0
}

// putInteger writes an integer conversion.
func putInteger(w *textWriter, v verb, conv byte, long bool, arg uint64, room *int) errno.Errno {
	size := 4
	if long {
		size = 8
	}
	switch conv {
	case 'd', 'i', 'u', 'x', 'X':
	default:
		return errno.EINVAL
	}
	if err := take(room, size); err != 0 || w == nil {
		return err
	}
	var digits [24]byte
	var s []byte
	sign := byte(0)
	switch conv {
	case 'd', 'i':
		n := int64(arg)
		if !long {
			n = int64(int32(arg))
		}
		switch {
		case n < 0:
			sign = '-'
			s = strconv.AppendUint(digits[:0], uint64(-n), 10)
		default:
			if v.plus {
				sign = '+'
			} else if v.space {
				sign = ' '
			}
			s = strconv.AppendUint(digits[:0], uint64(n), 10)
		}
	default:
		if !long {
			arg = uint64(uint32(arg))
		}
		if conv == 'u' {
			s = strconv.AppendUint(digits[:0], arg, 10)
		} else {
			s = appendHex(digits[:0], arg, conv == 'X')
		}
	}
	w.number(v, sign, s)
	return 0
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

// putChar writes %c.
func putChar(w *textWriter, v verb, c byte, room *int) errno.Errno {
	if *room == 0 {
		return errno.ENOSPC
	}
	*room--
	if w != nil {
		w.field(v, []byte{c})
	}
	return 0
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

// putString writes %s; what cannot be read is the empty string.
func (e *Env) putString(w *textWriter, v verb, addr uint64, room *int) errno.Errno {
	if *room == 0 {
		return errno.ENOSPC
	}
	var buf [maxBinArgs]byte
	n, ok := e.copyString(buf[:*room], addr)
	if !ok {
		n = 1
	}
	*room -= n
	if w != nil {
		w.field(v, buf[:n-1])
	}
	return 0
}

// putPointer writes %p and its kin; mod is what follows the p. The kernel
// prints %p and %pK as a hash under a random key, skep as one that does not change.
func (e *Env) putPointer(w *textWriter, v verb, mod byte, addr uint64, room *int) errno.Errno {
	if err := take(room, 8); err != 0 || w == nil {
		return err
	}
	if mod == 's' || mod == 'S' {
		w.symbol(v, addr)
		return 0
	}
	const errValues = ^uint64(0) - 4095 // error pointers and NULL are no secret
	if mod != 'x' && addr != 0 && addr <= errValues {
		addr = addr * 0x9e3779b97f4a7c15 >> 32
	}
	if v.width == 0 {
		v.width, v.zero = 16, true
	}
	var digits [16]byte
	w.number(v, 0, appendHex(digits[:0], addr, false))
	return 0
}

// symbol writes an address as the kernel does one that no symbol covers.
func (w *textWriter) symbol(v verb, addr uint64) {
	var digits [18]byte
	w.field(v, appendHex(append(digits[:0], "0x"...), addr, false))
}

// putSymbol writes %pB, which is laid out before its field is known.
func (e *Env) putSymbol(w *textWriter, addr uint64, room *int) errno.Errno {
	t := textWriter{}
	t.symbol(verb{}, addr)
	*room = max(*room-t.n-1, 0)
	if w != nil {
		w.symbol(verb{}, addr)
	}
	return 0
}

// putAddress writes an IP address: %pI4 1.2.3.4, %pi4 001.002.003.004,
// %pI6 with colons, %pi6 without.
func (e *Env) putAddress(w *textWriter, upper, v4 bool, addr uint64, room *int) errno.Errno {
	var ip [16]byte
	size := 16
	if v4 {
		size = 4
	}
	if *room < size {
		return errno.ENOSPC
	}
	if e.readable(addr, uint64(size)) {
		copy(ip[:size], mem.Bytes(addr, size))
	}
	var text [40]byte
	s := text[:0]
	for i, b := range ip[:size] {
		switch {
		case v4:
			if i > 0 {
				s = append(s, '.')
			}
			if !upper && b < 100 {
				s = append(s, '0')
			}
			if !upper && b < 10 {
				s = append(s, '0')
			}
			s = strconv.AppendUint(s, uint64(b), 10)
		default:
			if upper && i > 0 && i%2 == 0 {
				s = append(s, ':')
			}
			s = append(s, lowerHex[b>>4], lowerHex[b&15])
		}
	}
	*room = max(*room-len(s)-1, 0)
	if w != nil {
		w.bytes(s)
	}
	return 0
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

// isPrint and isPunct are the kernel's, for ASCII.
func isPrint(c byte) bool { return c >= ' ' && c < 0x7f }

func isPunct(c byte) bool {
	return isPrint(c) && c != ' ' && digit(c) > 9 && !(c|0x20 >= 'a' && c|0x20 <= 'z')
}
