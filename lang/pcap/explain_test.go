package pcap

import (
	"os"
	"strings"
	"testing"
)

// TestExplain shows all stages of an expression, in words and as a graph.
func TestExplain(t *testing.T) {
	var b strings.Builder
	explain := Explain(&b)
	var last strings.Builder
	_, err := CompileProgram("host 10.0.0.1 and not tcp[tcpflags] & tcp-rst != 0", Ethernet, 262144, &Options{Trace: func(s Stage) {
		explain(s)
		last.Reset()
		if err := s.Dot(&last, nil); err != nil {
			t.Error(err)
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	got := b.String() + "\n" + last.String()
	const file = "testdata/explain.golden"
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// TestTraceChangesNothing compiles with far jumps, traced and not.
func TestTraceChangesNothing(t *testing.T) {
	expr := "port 1" + strings.Repeat(" or host 10.0.0.1 and not port 2", 12)
	for _, raw := range []bool{false, true} {
		want, err := CompileProgram(expr, Ethernet, 65535, &Options{NoOptimize: raw})
		if err != nil {
			t.Fatal(err)
		}
		got, err := CompileProgram(expr, Ethernet, 65535, &Options{NoOptimize: raw, Trace: func(s Stage) {
			s.Blocks()
			s.Code()
		}})
		if err != nil || codeText(got) != codeText(want) {
			t.Errorf("NoOptimize=%v: another program when traced (%v)", raw, err)
		}
	}
}
