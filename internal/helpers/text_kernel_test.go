package helpers

import (
	"fmt"
	"testing"

	"github.com/skep-bpf/skep/internal/bprintf"
	"github.com/skep-bpf/skep/internal/catalog"
)

// formats and what they are given; arguments that are strings are their offsets
// in the data below.
var formats = []struct {
	format string
	args   []arg
}{
	{"", nil}, {"plain text", nil}, {"100%%", nil}, {"%", nil}, {"%%%", nil}, {"% %", nil},
	{"%d", []arg{imm(5)}}, {"%d", []arg{neg(-5)}}, {"%d", []arg{imm(1 << 31)}}, {"%d", []arg{imm(1<<40 | 7)}},
	{"%i|%u|%x|%X", []arg{neg(-1), neg(-1), neg(-1), neg(-2)}}, {"%ld %lu %lx", []arg{neg(-7), neg(-7), neg(-7)}},
	{"%lld %llu %llx %lli %llX", []arg{neg(-7), neg(-7), neg(-7), imm(1 << 62), imm(0xabcdef)}},
	{"%5d|%-5d|%05d|%+d|% d", []arg{imm(42), imm(42), imm(42), imm(42), imm(42)}},
	{"%+5d|%-+5d|%+05d|% 05d|%-05d", []arg{imm(42), imm(42), imm(42), imm(42), imm(42)}},
	{"%+5d|%-+5d|%+05d|% 05d|%+ d", []arg{neg(-42), neg(-42), neg(-42), neg(-42), neg(-42)}},
	{"%08x|%8x|%-8x|%+x|%020llx|%1x", []arg{imm(0xbeef), imm(0xbeef), imm(0xbeef), imm(0xbeef), imm(0xbeef), imm(0xbeef)}},
	{"%100d", []arg{imm(1)}}, {"%600d", []arg{imm(1)}}, {"%00d %-0d %0-5d|", []arg{imm(1), imm(2), imm(3)}},
	{"%d", nil}, {"%d %d", []arg{imm(1)}}, {"%d", []arg{imm(1), imm(2)}}, {"no args", []arg{imm(1)}},
	{"%h", []arg{imm(1)}}, {"%hd", []arg{imm(1)}}, {"%llld", []arg{imm(1)}}, {"%l", []arg{imm(1)}}, {"%f", []arg{imm(1)}}, {"%o", []arg{imm(1)}},
	{"%.5d", []arg{imm(1)}}, {"%#x", []arg{imm(1)}}, {"%*d", []arg{imm(1)}}, {"%n", []arg{imm(1)}}, {"%5", []arg{imm(1)}}, {"%ld%", []arg{imm(1)}},
	{"%c%c%c", []arg{imm('a'), imm('b'), imm(0x1ff)}}, {"%5c|%-5c|%05c", []arg{imm('x'), imm('y'), imm('z')}}, {"%c", []arg{imm(0)}}, {"%cd", []arg{imm('q')}},
	{"%s", []arg{data(0)}}, {"[%s] [%10s] [%-10s] [%2s]", []arg{data(0), data(0), data(0), data(0)}}, {"%s", []arg{imm(0)}}, {"%s", []arg{data(100)}},
	{"%s%s", []arg{data(200), data(200)}}, {"%s %s %d", []arg{data(300), data(300), imm(1)}}, {"%sx", []arg{data(0)}}, {"%s,%s.%s;", []arg{data(0), data(0), data(0)}},
	{"%pks %pus", []arg{data(0), imm(0)}}, {"%10pks|%-10pks|", []arg{data(0), data(0)}}, {"%pksx", []arg{data(0)}}, {"%pk", []arg{data(0)}}, {"%pke", []arg{data(0)}},
	{"%px", []arg{imm(0x1234)}}, {"%px", []arg{neg(-1)}}, {"%20px|%-20px|%020px", []arg{imm(0x12), imm(0x12), imm(0x12)}}, {"%pxy", []arg{imm(1)}},
	{"%p", []arg{imm(0)}}, {"%p %p", []arg{neg(-22), neg(-4095)}}, {"%20p|", []arg{imm(0)}}, {"%pK", []arg{imm(0)}},
	{"%ps %pS", []arg{imm(0x12), imm(0x34)}}, {"%10ps|%-10pS|", []arg{imm(0x12), imm(0x34)}}, {"%pB", []arg{imm(0x12)}}, {"%10pB|", []arg{imm(0x12)}}, {"%pBx", []arg{imm(0x12)}},
	{"%pI4", []arg{data(400)}}, {"%pi4", []arg{data(400)}}, {"%pI6", []arg{data(400)}}, {"%pi6", []arg{data(400)}}, {"%pI4 %pI6 %d", []arg{imm(0), imm(0), imm(3)}},
	{"%20pI4|", []arg{data(400)}}, {"%pI4h", []arg{data(400)}}, {"%pI6c", []arg{data(400)}}, {"%pI5", []arg{data(400)}}, {"%pM", []arg{data(400)}}, {"%pI", []arg{data(400)}},
	{"tab\tnewline\n", nil}, {"bell\a", nil}, {"high \xc3\xa9", nil}, {"high %\xc3", []arg{imm(1)}}, {"nbsp\xa0", nil}, {"del\x7f", nil}, {"%d\x01", []arg{imm(1)}}, {"%s\xa0", []arg{data(0)}},
	{"%d %s %lld %c %px", []arg{imm(1), data(0), neg(-9), imm('!'), imm(0xfe)}},
	{"%d%d%d%d%d%d%d%d%d%d%d%d", []arg{imm(1), imm(2), imm(3), imm(4), imm(5), imm(6), imm(7), imm(8), imm(9), imm(10), imm(11), imm(12)}},
	{"%c%lld%c%lld", []arg{imm('a'), imm(1), imm('b'), imm(2)}},
}

// formatData is what strings and addresses in formats point to.
func formatData() []byte {
	b := make([]byte, 3000)
	copy(b, "hello")
	copy(b[200:], "0123456789012345678901234567890123456789")
	for i := range 90 {
		b[300+i] = byte('a' + i%26)
	}
	copy(b[400:], []byte{10, 2, 30, 255, 0xab, 0xcd, 0, 1, 0, 0, 0, 0, 0xff, 0xfe, 0x12, 0x34})
	return b
}

// storeArgs puts arguments into the data at off: only the program knows the
// addresses among them.
func storeArgs(off int, args []arg) []step {
	var steps []step
	for i, a := range args {
		steps = append(steps, put(off+8*i, a))
	}
	return steps
}

func TestSnprintf(t *testing.T) {
	const argsAt, out = 1000, 2000
	var scripts []script
	add := func(name, format string, args []arg, size, argLen uint64) {
		steps := storeArgs(argsAt, args)
		at := data(argsAt)
		if argLen == 0 {
			at = imm(0)
		}
		s := script{name: name, prog: tc, pkt: tcp4, data: formatData(), konst: str(format)}
		s.steps = append(steps, call(catalog.FnSnprintf, data(out), imm(size), konst(0), at, imm(argLen)))
		if s.refused = bprintf.Check([]byte(format), len(args)) != 0; s.refused {
			scripts = append(scripts, s)
			return
		}
		for i := range args { // addresses differ between the two sides
			s.steps = append(s.steps, put(argsAt+8*i, imm(0)))
		}
		scripts = append(scripts, s)
	}
	for i, f := range formats {
		n := uint64(8 * len(f.args))
		add(fmt.Sprintf("%d %q", i, f.format), f.format, f.args, 900, n)
		add(fmt.Sprintf("%d %q cut", i, f.format), f.format, f.args, 7, n)
	}
	add("one byte", "%d", []arg{imm(77)}, 1, 8)
	runScripts(t, scripts)
}

func TestTraceVprintk(t *testing.T) {
	const argsAt, formatAt = 1000, 2000
	var scripts []script
	for i, f := range formats {
		s := script{name: fmt.Sprintf("%d %q", i, f.format), prog: tc, pkt: tcp4, data: formatData()}
		copy(s.data[formatAt:], str(f.format))
		n := uint64(8 * len(f.args))
		at := data(argsAt)
		if n == 0 {
			at = imm(0)
		}
		s.steps = append(storeArgs(argsAt, f.args), call(catalog.FnTraceVprintk, data(formatAt), imm(uint64(len(f.format)+1)), at, imm(n)))
		for j := range f.args {
			s.steps = append(s.steps, put(argsAt+8*j, imm(0)))
		}
		scripts = append(scripts, s)
		if len(f.args) <= 3 {
			p := script{name: s.name + " printk", prog: tc, pkt: tcp4, data: s.data}
			args := append([]arg{data(formatAt), imm(uint64(len(f.format) + 1))}, f.args...)
			p.steps = []step{call(catalog.FnTracePrintk, args...)}
			if len(f.format) > 0 {
				unended := append([]arg{data(formatAt), imm(uint64(len(f.format)))}, f.args...)
				p.steps = append(p.steps, call(catalog.FnTracePrintk, unended...))
			}
			scripts = append(scripts, p)
		}
	}
	runScripts(t, scripts)
}

func TestKernelStrings(t *testing.T) {
	const a, b = 0, 500
	var scripts []script
	for _, c := range [][2]string{
		{"", ""}, {"abc", ""}, {"", "abc"}, {"abc", "abc"}, {"abc", "abd"}, {"abd", "abc"}, {"ABC", "abc"}, {"hello world", "o w"}, {"hello", "lo"},
		{"hello", "l"}, {"aaab", "aab"}, {"hello", "xyz"}, {"hello", "hello!"}, {"\xc0\xe0", "\xe0\xc0"}, {"[", "{"}, {"abcabc", "cba"}, {"a\xff", "a\x01"},
	} {
		mem := make([]byte, 1000)
		copy(mem[a:], c[0])
		copy(mem[b:], c[1])
		first := uint64(0)
		if c[1] != "" {
			first = uint64(c[1][0])
		}
		s := script{name: fmt.Sprintf("%q %q", c[0], c[1]), prog: tc, pkt: tcp4, data: mem, steps: []step{
			kcall("bpf_strcmp", data(a), data(b)), kcall("bpf_strcasecmp", data(a), data(b)),
			kcall("bpf_strlen", data(a)), kcall("bpf_strlen", imm(0)),
			kcall("bpf_strchr", data(a), imm(first)), kcall("bpf_strchrnul", data(a), imm(first)), kcall("bpf_strrchr", data(a), imm(first)),
			kcall("bpf_strchr", data(a), imm('z')), kcall("bpf_strchrnul", data(a), imm('z')), kcall("bpf_strrchr", data(a), imm('z')),
			kcall("bpf_strspn", data(a), data(b)), kcall("bpf_strcspn", data(a), data(b)), kcall("bpf_strstr", data(a), data(b)),
		}}
		for _, n := range []uint64{0, 1, 2, 3, 4, 5, 7, 100} {
			s.steps = append(s.steps, kcall("bpf_strnlen", data(a), imm(n)), kcall("bpf_strnchr", data(a), imm(n), imm(first)), kcall("bpf_strnstr", data(a), data(b), imm(n)))
		}
		scripts = append(scripts, s)
	}
	runScripts(t, scripts)
}
