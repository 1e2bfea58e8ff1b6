package bprintf

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/skep-bpf/skep/internal/errno"
)

// store is a Memory of a few strings at small addresses.
type store map[uint64]string

func (s store) Copy(to []byte, addr uint64) bool {
	v, ok := s[addr]
	return ok && copy(to, v) == len(to)
}

func (s store) CopyString(to []byte, addr uint64) (int, bool) {
	v, ok := s[addr]
	if !ok {
		return 0, false
	}
	n := copy(to[:len(to)-1], v)
	to[n] = 0
	return n + 1, true
}

// What these give on the live kernel is compared in internal/helpers; here are
// the rules by name.
func TestFormat(t *testing.T) {
	m := store{1: "hello", 2: "\x7f\x00\x00\x01", 3: strings.Repeat("x", 600)}
	var f Formatter
	for _, c := range []struct {
		format string
		args   []uint64
		want   string
	}{
		{"%d%%", []uint64{5}, "5%"},
		{"%5d|%-5d|%05d", []uint64{42, 42, 42}, "   42|42   |00042"},
		{"%x %X %llx", []uint64{0xab, 0xab, 1 << 40}, "ab AB 10000000000"},
		{"%s [%8s]", []uint64{1, 1}, "hello [   hello]"},
		{"%s", []uint64{99}, ""},
		{"%pI4 %pi4", []uint64{2, 2}, "127.0.0.1 127.000.000.001"},
		{"%px", []uint64{0x12}, "0000000000000012"},
		{"%p", []uint64{0}, "0000000000000000"},
		{"%c%c", []uint64{'o', 'k'}, "ok"},
		{"%s", []uint64{3}, strings.Repeat("x", maxBinArgs-1)},
	} {
		buf := make([]byte, 1024)
		n, err := f.Format(buf, []byte(c.format), c.args, m)
		if got := string(buf[:n]); err != 0 || got != c.want {
			t.Errorf("%q of %v: %q, %v; want %q", c.format, c.args, got, err, c.want)
		}
		short := bytes.Repeat([]byte{0xee}, 8)
		if again, _ := f.Format(short[:4], []byte(c.format), c.args, m); again < min(n, 4) || short[4] != 0xee {
			t.Errorf("%q cut to 4 bytes: length %d, % x", c.format, again, short)
		}
	}
}

func TestHashedPointersAreStable(t *testing.T) {
	var f Formatter
	text := func() string {
		buf := make([]byte, 64)
		n, _ := f.Format(buf, []byte("%p"), []uint64{0xffff888012345678}, store{})
		return string(buf[:n])
	}
	if a := text(); a != text() || len(a) != 16 || !strings.HasPrefix(a, "00000000") || strings.Contains(a, "12345678") {
		t.Errorf("%%p prints %s", a)
	}
}

func TestTooMuchForTheBuffer(t *testing.T) {
	var f Formatter
	m := store{3: strings.Repeat("x", 600)}
	for _, format := range []string{"%s %s", "%s %d", "%s %c", "%s %pI4", "%s %px"} {
		if _, err := f.Format(make([]byte, 64), []byte(format), []uint64{3, 3}, m); err != errno.ENOSPC {
			t.Errorf("%q: %v", format, err)
		}
	}
}

func TestCheck(t *testing.T) {
	for format, nargs := range map[string]int{"%d": 0, "%": 1, "%hd": 1, "%sx": 1, "%pI5": 1, "a\ab": 0, "%\xc3": 1, "%llld": 1, "%.3d": 1} {
		if Check([]byte(format), nargs) != errno.EINVAL {
			t.Errorf("%q with %d arguments is let through", format, nargs)
		}
	}
	for format, nargs := range map[string]int{"": 0, "%d": 3, "é": 0, "%pks,%pus": 2, "% -+05lld": 1, "%s%d%c%pB%ps%pK": 6} {
		if err := Check([]byte(format), nargs); err != 0 {
			t.Errorf("%q with %d arguments: %v", format, nargs, err)
		}
	}
}

// Whatever the format, what Check lets through formats, with the length it says.
func FuzzFormat(f *testing.F) {
	f.Add("%d %s %llx", uint64(1), uint64(2))
	f.Add("%-20pI4x%%%c", uint64(2), uint64(3))
	f.Add("%999999999d%pBqq%+ 05X", uint64(3), uint64(1<<63))
	m := store{1: "hello", 2: "\x7f\x00\x00\x01ABCDEFGHIJKLMNOP", 3: strings.Repeat("x", 600)}
	f.Fuzz(func(t *testing.T, format string, a, b uint64) {
		var w Formatter
		buf := bytes.Repeat([]byte{0xee}, 80)
		n, err := w.Format(buf[:64], []byte(format), []uint64{a, b}, m)
		if ok := Check([]byte(format), 2) == 0; ok && err == errno.EINVAL || !ok && err == 0 {
			t.Fatalf("checked %v, formatted with %v", ok, err)
		}
		if err == 0 && (n < 0 || n < 63 && buf[n] != 0) || !bytes.Equal(buf[64:], bytes.Repeat([]byte{0xee}, 16)) {
			t.Fatalf("%d bytes: % x", n, buf)
		}
	})
}

func Example() {
	var f Formatter
	buf := make([]byte, 64)
	n, _ := f.Format(buf, []byte("port %d of %s"), []uint64{80, 1}, store{1: "eth0"})
	fmt.Println(string(buf[:n]))
	// Output: port 80 of eth0
}
