package helpers

import (
	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/mem"
)

// stringFuncs work on strings (kernel/bpf/helpers.c).
var stringFuncs = map[catalog.HelperID]Func{
	catalog.FnStrtol:  strtol,
	catalog.FnStrtoul: strtoul,
	catalog.FnStrncmp: strncmp,
}

// strtol writes the number at the start of a string to res and returns how many
// bytes it took.
func strtol(_ *Env, buf, size, flags, res, _ uint64) uint64 {
	mem.Store64(res, 0)
	v, n, neg, err := parseNumber(mem.Bytes(buf, int(size)), flags)
	if err != 0 {
		return err.Ret()
	}
	if neg {
		v = -v
		if int64(v) > 0 {
			return errno.ERANGE.Ret()
		}
	} else if int64(v) < 0 {
		return errno.ERANGE.Ret()
	}
	mem.Store64(res, v)
	return uint64(n)
}

func strtoul(_ *Env, buf, size, flags, res, _ uint64) uint64 {
	mem.Store64(res, 0)
	v, n, neg, err := parseNumber(mem.Bytes(buf, int(size)), flags)
	if err == 0 && neg {
		err = errno.EINVAL
	}
	if err != 0 {
		return err.Ret()
	}
	mem.Store64(res, v)
	return uint64(n)
}

// maxDigits is how much of a string after its sign is looked at, in bytes.
const maxDigits = 63

// parseNumber reads white space, a sign and digits to the base in the low five
// bits of flags, 0 telling from the prefix (__bpf_strtoull). n is how many bytes
// all that took.
func parseNumber(s []byte, flags uint64) (v uint64, n int, neg bool, err errno.Errno) {
	base := flags & 0x1f
	if len(s) == 0 || flags != base || base != 0 && base != 8 && base != 10 && base != 16 {
		return 0, 0, false, errno.EINVAL
	}
	for n < len(s) && isSpace(s[n]) {
		n++
	}
	if n < len(s) && s[n] == '-' {
		neg = true
		n++
	}
	s = s[n:min(len(s), n+maxDigits)]
	if len(s) == 0 {
		return 0, 0, neg, errno.EINVAL
	}
	at := func(i int) byte {
		if i < len(s) {
			return s[i]
		}
		return 0
	}
	hex := at(0) == '0' && at(1)|0x20 == 'x'
	if base == 0 {
		switch {
		case hex && digit(at(2)) < 16:
			base = 16
		case at(0) == '0':
			base = 8
		default:
			base = 10
		}
	}
	i := 0
	if base == 16 && hex {
		i = 2
	}
	start, overflow := i, false
	for ; digit(at(i)) < base; i++ {
		d := digit(at(i))
		if v > (^uint64(0)-d)/base {
			overflow = true
		}
		v = v*base + d
	}
	switch {
	case overflow:
		return 0, 0, neg, errno.ERANGE
	case i == start:
		return 0, 0, neg, errno.EINVAL
	}
	return v, n + i, neg, 0
}

// digit returns the value of a digit, or a number no base reaches.
func digit(c byte) uint64 {
	switch {
	case c >= '0' && c <= '9':
		return uint64(c - '0')
	case c|0x20 >= 'a' && c|0x20 <= 'f':
		return uint64(c|0x20-'a') + 10
	}
	return 99
}

// isSpace is the kernel's isspace, for Latin-1.
func isSpace(c byte) bool { return c == ' ' || c >= '\t' && c <= '\r' || c == 0xa0 }

// strncmp compares a string of at most n bytes with a constant one: -1, 0 or 1.
func strncmp(_ *Env, s1, n, s2, _, _ uint64) uint64 {
	for i := range uint64(uint32(n)) {
		a, b := mem.Load8(s1+i), mem.Load8(s2+i)
		if a != b {
			if a < b {
				return ^uint64(0)
			}
			return 1
		}
		if a == 0 {
			break
		}
	}
	return 0
}
