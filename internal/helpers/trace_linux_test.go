package helpers

import (
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/linux"
	"github.com/skep-bpf/skep/internal/oracle"
)

// Lines in the trace are the kernel's, word for word.
func TestTraceText(t *testing.T) {
	needKernel(t)
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	trace, err := linux.OpenTrace(unix.Gettid())
	oracle.Need(t, "tracefs", err)
	defer trace.Close()
	for _, c := range []struct {
		format string
		args   []arg
	}{
		{"plain", nil}, {"port %d", []arg{imm(80)}}, {"%d of %u: %x", []arg{neg(-1), neg(-1), neg(-1)}}, {"%llx %lld", []arg{imm(1 << 40), neg(-5)}},
		{"%s|%8d|%-8d|", []arg{data(0), imm(3), imm(4)}}, {"%pI4 %pI6", []arg{data(400), data(400)}}, {"100%% of %c", []arg{imm('x')}}, {"%p %px", []arg{imm(0), imm(0x12)}},
	} {
		const formatAt = 2000
		s := script{name: c.format, prog: tc, pkt: tcp4, data: formatData()}
		copy(s.data[formatAt:], str(c.format))
		s.steps = []step{call(catalog.FnTracePrintk, append([]arg{data(formatAt), imm(uint64(len(c.format) + 1))}, c.args...)...)}
		s.kernel(t)
		lines, err := trace.Lines()
		if err != nil {
			t.Fatal(err)
		}
		h := newTestHost(t)
		s.oursOn(t, h)
		if got, want := strings.Join(h.lines, "\n"), strings.Join(lines, "\n"); got != want || len(lines) != 1 {
			t.Errorf("%q: traced %q, kernel %q", c.format, got, want)
		}
	}
}
