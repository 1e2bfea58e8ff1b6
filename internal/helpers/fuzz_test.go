package helpers

import (
	"math"
	"math/big"
	"strings"
	"testing"

	"github.com/skep-bpf/skep/internal/errno"
)

// Numbers that parse are what math/big makes of the same digits.
func FuzzParseNumber(f *testing.F) {
	for _, s := range []string{"0x1f", " -12", "18446744073709551616", "08", "", "-", "0x"} {
		for _, base := range []uint64{0, 8, 10, 16} {
			f.Add(s, base)
		}
	}
	f.Fuzz(func(t *testing.T, s string, flags uint64) {
		v, n, neg, err := parseNumber([]byte(s), flags)
		if err != 0 {
			if err != errno.EINVAL && err != errno.ERANGE {
				t.Fatalf("%q: %v", s, err)
			}
			return
		}
		if n <= 0 || n > len(s) {
			t.Fatalf("%q: took %d bytes", s, n)
		}
		digits := s[:n]
		for digits != "" && strings.IndexByte(" \t\n\v\f\r\xa0", digits[0]) >= 0 { // isspace
			digits = digits[1:]
		}
		digits, minus := strings.CutPrefix(digits, "-")
		if minus != neg {
			t.Fatalf("%q: negative %v", s, neg)
		}
		base := int(flags)
		lower := strings.ToLower(digits)
		if base == 16 || base == 0 && strings.HasPrefix(lower, "0x") {
			lower, base = strings.TrimPrefix(lower, "0x"), 16
		} else if base == 0 && digits[0] == '0' {
			base = 8
		} else if base == 0 {
			base = 10
		}
		want, ok := new(big.Int).SetString(lower, base)
		if !ok || want.Cmp(new(big.Int).SetUint64(math.MaxUint64)) > 0 || want.Uint64() != v {
			t.Fatalf("%q to base %d: %d, want %v", s, flags, v, want)
		}
	})
}
