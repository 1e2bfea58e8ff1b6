package verifier

import (
	"strings"

	"github.com/skep-bpf/skep/internal/errno"
)

// checkFormat checks a format string against the number of its arguments by
// the kernel's rules (bpf_bprintf_prepare). It returns 0 if they fit.
func checkFormat(format string, args int) errno.Errno {
	used := 0
	for i := 0; i < len(format); i++ {
		c := format[i]
		if c < 0x20 && !strings.ContainsRune("\t\n\v\f\r", rune(c)) || c >= 0x7f {
			return errno.EINVAL
		}
		if c != '%' {
			continue
		}
		i++
		if i < len(format) && format[i] == '%' {
			continue
		}
		if used >= args {
			return errno.EINVAL
		}
		used++
		at := func() byte {
			if i < len(format) {
				return format[i]
			}
			return 0
		}
		for at() == '0' || at() == '+' || at() == '-' || at() == ' ' {
			i++
		}
		if at() >= '1' && at() <= '9' {
			for at() >= '0' && at() <= '9' {
				i++
			}
		}
		if at() == 'p' {
			if n := pointerFormat(format[i+1:]); n >= 0 {
				i += n
				continue
			}
			return errno.EINVAL
		}
		if at() == 's' || at() == 'c' {
			continue
		}
		if at() == 'l' {
			i++
			if at() == 'l' {
				i++
			}
		}
		if !strings.ContainsRune("diuxX", rune(at())) || at() == 0 {
			return errno.EINVAL
		}
	}
	if used != args {
		return errno.EINVAL
	}
	return 0
}

// pointerFormat returns how many bytes of rest belong to a %p, or -1.
func pointerFormat(rest string) int {
	if rest == "" {
		return 0
	}
	switch c := rest[0]; {
	case c == 'K' || c == 'x' || c == 's' || c == 'S' || c == 'B':
		return 1
	case (c == 'k' || c == 'u') && len(rest) > 1 && rest[1] == 's':
		return 2
	case (c == 'i' || c == 'I') && len(rest) > 1 && (rest[1] == '4' || rest[1] == '6'):
		return 2
	case strings.IndexByte(" \t\n\v\f\r!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~", c) >= 0:
		return 0
	}
	return -1
}
