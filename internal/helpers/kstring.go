package helpers

import (
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/mem"
)

// Kernel functions on strings wherever they lie (kernel/bpf/helpers.c,
// bpf_str*). Positions and lengths are C ints; a string that cannot be read is
// ERANGE or EFAULT, one longer than maxString E2BIG.
func init() {
	for name, f := range map[string]Func{
		"bpf_strcmp":     func(e *Env, a, b, _, _, _ uint64) uint64 { return e.compare(a, b, false) },
		"bpf_strcasecmp": func(e *Env, a, b, _, _, _ uint64) uint64 { return e.compare(a, b, true) },
		"bpf_strnchr":    func(e *Env, s, n, c, _, _ uint64) uint64 { return e.findByte(s, n, byte(c)) },
		"bpf_strchr":     func(e *Env, s, c, _, _, _ uint64) uint64 { return e.findByte(s, maxString, byte(c)) },
		"bpf_strchrnul":  strchrnul,
		"bpf_strrchr":    strrchr,
		"bpf_strnlen":    func(e *Env, s, n, _, _, _ uint64) uint64 { return e.length(s, n) },
		"bpf_strlen":     func(e *Env, s, _, _, _, _ uint64) uint64 { return e.length(s, maxString) },
		"bpf_strspn":     func(e *Env, s, set, _, _, _ uint64) uint64 { return e.span(s, set, true) },
		"bpf_strcspn":    func(e *Env, s, set, _, _, _ uint64) uint64 { return e.span(s, set, false) },
		"bpf_strnstr":    func(e *Env, s, sub, n, _, _ uint64) uint64 { return e.findString(s, sub, n) },
		"bpf_strstr":     func(e *Env, s, sub, _, _, _ uint64) uint64 { return e.findString(s, sub, maxString) },
	} {
		KfuncTable[name] = f
	}
}

// maxString is how much of a string these functions look at, in bytes (XATTR_SIZE_MAX).
const maxString = 65536

// peek reads one byte of memory that may not be there.
func (e *Env) peek(addr uint64) (byte, bool) {
	if !e.readable(addr, 1) {
		return 0, false
	}
	return mem.Load8(addr), true
}

// userEnd is where the addresses of user space end; a string that begins below
// is out of these functions' range before it is looked at.
const userEnd = 1 << 47

// noString is the answer when the string at s cannot be read at position i.
func noString(s, i uint64) uint64 {
	if i == 0 && s < userEnd {
		return int32Of(errno.ERANGE)
	}
	return int32Of(errno.EFAULT)
}

// lower is the kernel's tolower, for Latin-1.
func lower(c byte) byte {
	if c >= 'A' && c <= 'Z' || c >= 0xc0 && c <= 0xde && c != 0xd7 {
		return c + 0x20
	}
	return c
}

func (e *Env) compare(a, b uint64, fold bool) uint64 {
	for i := range uint64(maxString) {
		x, ok1 := e.peek(a + i)
		y, ok2 := e.peek(b + i)
		if !ok1 {
			return noString(a, i)
		}
		if !ok2 {
			return noString(b, i)
		}
		if fold {
			x, y = lower(x), lower(y)
		}
		switch {
		case x < y:
			return uint64(^uint32(0)) // -1
		case x > y:
			return 1
		case x == 0:
			return 0
		}
	}
	return int32Of(errno.E2BIG)
}

func (e *Env) findByte(s, n uint64, c byte) uint64 {
	for i := range min(n, maxString) {
		switch b, ok := e.peek(s + i); {
		case !ok:
			return noString(s, i)
		case b == c:
			return i
		case b == 0:
			return int32Of(errno.ENOENT)
		}
	}
	if n >= maxString {
		return int32Of(errno.E2BIG)
	}
	return int32Of(errno.ENOENT)
}

// strchrnul finds a byte, or the string's end.
func strchrnul(e *Env, s, c, _, _, _ uint64) uint64 {
	for i := range uint64(maxString) {
		switch b, ok := e.peek(s + i); {
		case !ok:
			return noString(s, i)
		case b == byte(c) || b == 0:
			return i
		}
	}
	return int32Of(errno.E2BIG)
}

// strrchr finds the last such byte.
func strrchr(e *Env, s, c, _, _, _ uint64) uint64 {
	last := int32Of(errno.ENOENT)
	for i := range uint64(maxString) {
		b, ok := e.peek(s + i)
		if !ok {
			return noString(s, i)
		}
		if b == byte(c) {
			last = i
		}
		if b == 0 {
			return last
		}
	}
	return int32Of(errno.E2BIG)
}

func (e *Env) length(s, n uint64) uint64 {
	for i := range min(n, maxString) {
		switch b, ok := e.peek(s + i); {
		case !ok:
			return noString(s, i)
		case b == 0:
			return i
		}
	}
	if n >= maxString {
		return int32Of(errno.E2BIG)
	}
	return n
}

// span returns how many bytes at the start of s are, or are not, in a set.
func (e *Env) span(s, set uint64, in bool) uint64 {
	for i := range uint64(maxString) {
		b, ok := e.peek(s + i)
		if !ok {
			return noString(s, i)
		}
		if b == 0 {
			return i
		}
		found := false
		for j := uint64(0); !found; j++ {
			c, ok := e.peek(set + j)
			if !ok {
				return noString(set, j)
			}
			if c == 0 || j == maxString {
				break
			}
			found = c == b
		}
		if found != in {
			return i
		}
	}
	return int32Of(errno.E2BIG)
}

// findString finds a string within the first n bytes of another.
func (e *Env) findString(s, sub, n uint64) uint64 {
	for i := range uint64(maxString) {
		j := uint64(0)
	match:
		for ; i+j <= n && j < maxString; j++ {
			want, ok := e.peek(sub + j)
			switch {
			case !ok:
				return noString(sub, j)
			case want == 0:
				return i
			case i+j == n:
				break match
			}
			switch b, ok := e.peek(s + i + j); {
			case !ok:
				return noString(s, i+j)
			case b == 0:
				return int32Of(errno.ENOENT)
			case b != want:
				break match
			}
		}
		if j == maxString {
			return int32Of(errno.E2BIG)
		}
		if i+j == n {
			return int32Of(errno.ENOENT)
		}
	}
	return int32Of(errno.E2BIG)
}
