package pcap

import (
	"bufio"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/skep-bpf/skep/classic"
	"github.com/skep-bpf/skep/internal/oracle"
)

// libpcap answers as libpcap does: a process that compiles what it is given,
// line by line.
type libpcap struct {
	in  io.Writer
	out *bufio.Reader
}

// newLibpcap builds and starts the process, or skips the test.
func newLibpcap(t testing.TB, args ...string) *libpcap {
	gcc := oracle.Tool(t, "gcc", "cc")
	bin := filepath.Join(t.TempDir(), "oracle")
	if out, err := exec.Command(gcc, "-O1", "-o", bin, "testdata/oracle.c", "-lpcap").CombinedOutput(); err != nil {
		oracle.Need(t, "libpcap", fmt.Errorf("building testdata/oracle.c: %w: %s", err, out))
	}
	cmd := exec.Command(bin, args...)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		cmd.Wait()
	})
	return &libpcap{in, bufio.NewReaderSize(out, 1<<20)}
}

// ask returns libpcap's answer to a query.
func (l *libpcap) ask(t testing.TB, q query) string {
	fmt.Fprintf(l.in, "%d %d %d %d %c %s\n", int(q.link), q.snaplen, b2i(!q.opts.NoOptimize), q.opts.Netmask,
		"dfsl"[q.opts.Source], q.expr)
	s, err := l.out.ReadString('\n')
	if err != nil {
		t.Fatalf("libpcap ends at %q: %v", q.expr, err)
	}
	return strings.TrimSuffix(s, "\n")
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

// query is an expression and what to compile it for.
type query struct {
	expr    string
	link    LinkType
	snaplen int
	opts    Options
}

// ours returns our answer in the same form.
func (q query) ours() string {
	prog, err := CompileProgram(q.expr, q.link, q.snaplen, &q.opts)
	if err != nil {
		return "- " + err.(*Error).Msg
	}
	return "+" + codeText(prog)
}

func codeText(prog []classic.Instruction) string {
	var b strings.Builder
	for _, i := range prog {
		fmt.Fprintf(&b, " %x %x %x %x", i.Code, i.Jt, i.Jf, i.K)
	}
	return b.String()
}
