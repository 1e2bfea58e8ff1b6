// Package bprintf formats text as BPF programs may: with the conversions,
// limits and errors of bpf_trace_printk and bpf_snprintf (kernel/bpf/helpers.c,
// lib/vsprintf.c). Allowed are
//
//	%% %c %d %i %u %x %X and with l or ll     %s %pks %pus
//	%p %pK %px %ps %pS %pB                    %pi4 %pI4 %pi6 %pI6
//
// each with flags of "0 +-" and a width.
//
// The kernel works in two steps, and so does this package, since the seam shows:
// first it checks the format and copies what the arguments point to into a small
// buffer (bpf_bprintf_prepare), then it renders the format from there (bstr_printf).
//
//	"%d %s %pI4"   →   │ 4 bytes │ h e l l o 0 │ 1 . 2 . 3 . 4 0 │   →   "7 hello 1.2.3.4"
package bprintf

import (
	"encoding/binary"
	"strconv"

	"github.com/skep-bpf/skep/internal/errno"
)

// MaxArgs is how many arguments a format can have (MAX_BPRINTF_VARARGS).
const MaxArgs = 12

// maxBinArgs is the size of the buffer between the steps, in bytes (MAX_BPRINTF_BIN_ARGS).
const maxBinArgs = 512

// Memory is what the addresses among the arguments are read from.
type Memory interface {
	// Copy fills to with the bytes at addr, or is false if they cannot be read.
	Copy(to []byte, addr uint64) bool
	// CopyString copies the string at addr, cut to fit, and its zero byte; n
	// counts that. It is false if the string runs into what cannot be read.
	CopyString(to []byte, addr uint64) (n int, ok bool)
}

// Formatter formats; it holds the buffer between the steps. The zero value is ready.
type Formatter struct {
	buf [maxBinArgs]byte
	n   int
}

// Check reports whether a format without its zero byte is well formed and takes
// no more than nargs arguments: 0 or EINVAL.
func Check(format []byte, nargs int) errno.Errno {
	var none [MaxArgs]uint64
	return (*Formatter)(nil).prepare(format, none[:min(nargs, MaxArgs)], nil)
}

// Format renders a format, without its zero byte, with arguments into to, which
// it ends with a zero byte, and returns the length of the whole text, however
// much of it fits.
func (b *Formatter) Format(to, format []byte, args []uint64, m Memory) (int, errno.Errno) {
	b.n = 0
	if err := b.prepare(format, args, m); err != 0 {
		return 0, err
	}
	clear(b.buf[b.n:])
	w := textWriter{buf: to}
	w.render(format, b.buf[:])
	w.close()
	return w.n, 0
}

// charAt returns a byte of a format, zero behind its end.
func charAt(format []byte, i int) byte {
	if i < len(format) {
		return format[i]
	}
	return 0
}

// verbEnds reports whether a conversion may end before position i.
func verbEnds(format []byte, i int) bool {
	c := charAt(format, i)
	return c == 0 || isSpace(c) || isPunct(c)
}

// prepare checks a format and fills b, if it is not nil, with its arguments.
func (b *Formatter) prepare(format []byte, args []uint64, m Memory) errno.Errno {
	for i := 0; i < len(format); i++ {
		c := format[i]
		if c < 0x80 && !isPrint(c) && !isSpace(c) {
			return errno.EINVAL
		}
		if c != '%' {
			continue
		}
		i++
		if charAt(format, i) == '%' {
			continue
		}
		if len(args) == 0 {
			return errno.EINVAL
		}
		var v verb
		last, err := b.prepareVerb(format, v.parse(format, i), args[0], m)
		if err != 0 {
			return err
		}
		args = args[1:]
		i = last
	}
	return 0
}

// prepareVerb is prepare for one conversion, whose letters start at i; it
// returns the position of the last one.
func (b *Formatter) prepareVerb(format []byte, i int, arg uint64, m Memory) (int, errno.Errno) {
	next, third := charAt(format, i+1), charAt(format, i+2)
	switch c := charAt(format, i); {
	case c == 'p' && verbEnds(format, i+1):
		return i, b.word(arg, 8)
	case c == 'p' && (next == 'k' || next == 'u') && third == 's' && verbEnds(format, i+3):
		return i + 2, b.string(arg, m)
	case c == 'p' && (next == 'K' || next == 'x' || next == 's' || next == 'S'):
		return i + 1, b.word(arg, 8)
	case c == 'p' && next == 'B':
		b.symbol(arg)
		return i + 1, 0
	case c == 'p' && next|0x20 == 'i' && (third == '4' || third == '6'):
		return i + 2, b.address(next == 'I', third == '4', arg, m)
	case c == 's' && verbEnds(format, i+1):
		return i, b.string(arg, m)
	case c == 'c':
		return i, b.char(byte(arg))
	}
	size := 4
	for range 2 {
		if charAt(format, i) == 'l' {
			size = 8
			i++
		}
	}
	switch charAt(format, i) {
	case 'd', 'i', 'u', 'x', 'X':
		return i, b.word(arg, size)
	}
	return i, errno.EINVAL
}

// word adds 4 or 8 bytes, aligned to four.
func (b *Formatter) word(v uint64, size int) errno.Errno {
	if b == nil {
		return 0
	}
	b.n = min((b.n+3)&^3, maxBinArgs)
	if maxBinArgs-b.n < size {
		return errno.ENOSPC
	}
	binary.NativeEndian.PutUint32(b.buf[b.n:], uint32(v))
	if size == 8 {
		binary.NativeEndian.PutUint64(b.buf[b.n:], v)
	}
	b.n += size
	return 0
}

// char adds one byte.
func (b *Formatter) char(c byte) errno.Errno {
	if b == nil {
		return 0
	}
	if b.n == maxBinArgs {
		return errno.ENOSPC
	}
	b.buf[b.n] = c
	b.n++
	return 0
}

// text adds what fits of a text, with a zero byte.
func (b *Formatter) text(s []byte) {
	if room := maxBinArgs - b.n; room > 0 {
		n := copy(b.buf[b.n:maxBinArgs-1], s)
		b.buf[b.n+n] = 0
		b.n += n + 1
	}
}

// symbol adds an address as the kernel writes one that no symbol covers.
func (b *Formatter) symbol(addr uint64) {
	if b != nil {
		var digits [18]byte
		b.text(appendHex(append(digits[:0], "0x"...), addr, false))
	}
}

// string adds the string at addr, cut to fit; one that cannot be read is empty.
func (b *Formatter) string(addr uint64, m Memory) errno.Errno {
	if b == nil {
		return 0
	}
	if b.n == maxBinArgs {
		return errno.ENOSPC
	}
	n, ok := m.CopyString(b.buf[b.n:], addr)
	if !ok {
		b.buf[b.n] = 0
		n = 1
	}
	b.n += n
	return 0
}

// address adds an IP address: %pI4 1.2.3.4, %pi4 001.002.003.004, %pI6
// with colons, %pi6 without. One that cannot be read is zero.
func (b *Formatter) address(upper, v4 bool, addr uint64, m Memory) errno.Errno {
	if b == nil {
		return 0
	}
	var ip [16]byte
	size := 16
	if v4 {
		size = 4
	}
	if maxBinArgs-b.n < size {
		return errno.ENOSPC
	}
	if !m.Copy(ip[:size], addr) {
		clear(ip[:])
	}
	var text [40]byte
	s := text[:0]
	for i, octet := range ip[:size] {
		switch {
		case v4:
			if i > 0 {
				s = append(s, '.')
			}
			if !upper && octet < 100 {
				s = append(s, '0')
			}
			if !upper && octet < 10 {
				s = append(s, '0')
			}
			s = strconv.AppendUint(s, uint64(octet), 10)
		default:
			if upper && i > 0 && i%2 == 0 {
				s = append(s, ':')
			}
			s = append(s, lowerHex[octet>>4], lowerHex[octet&15])
		}
	}
	b.text(s)
	return 0
}
