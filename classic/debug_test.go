package classic

import (
	"encoding/binary"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
)

// list is a capture in memory.
type list struct {
	packets [][]byte
	at      int
}

func (l *list) Next() ([]byte, int, error) {
	if l.at == len(l.packets) {
		return nil, 0, io.EOF
	}
	l.at++
	return l.packets[l.at-1], len(l.packets[l.at-1]) + 10, nil
}

func (l *list) Close() error { return nil }

func newDebugger(out io.Writer, packets ...[]byte) *Debugger {
	return &Debugger{Out: out, Open: func(string) (Packets, error) { return &list{packets: packets}, nil }}
}

const debugged = "load bpf 4,48 0 0 0,21 0 1 7,6 0 0 9,6 0 0 0,"

func TestDebugger(t *testing.T) {
	var out strings.Builder
	d := newDebugger(&out, []byte{7}, []byte{8}, []byte{7})
	for _, c := range []struct{ line, want string }{
		{debugged, ""},
		{"load pcap any", ""},
		{"run", "bpf passes:2 fails:1\n"},
		{"run 1", "bpf passes:1 fails:0\n"},
		{"step", "A:        [0x000008][8]\n"},
		{"step 2", "ret:      [00000000][0]!\n"},
		{"registers", "pc:       [0]\n"},
		{"sel 1", ""},
		{"b 2", "breakpoint at: l2:\tret #9\n"},
		{"run", "(breakpoint)\npc:       [2]\n"},
		{"step -1", "pc:       [1]\n"},
		{"step", "cap: 1, len: 11\n  0: 07\n"},
		{"run 1", "bpf passes:1 fails:0\n"},
		{"run", "(breakpoint)\n"},
		{"b reset", ""},
		{"dis 1", "l1:\tjeq #0x7, l2, l3\n"},
	} {
		out.Reset()
		if err := d.Exec(c.line); err != nil {
			t.Fatalf("%s: %v", c.line, err)
		}
		if !strings.Contains(out.String(), c.want) {
			t.Errorf("%s: %q is not in\n%s", c.line, c.want, &out)
		}
	}
	for line, want := range map[string]error{
		"s": ErrCommand, "fly": ErrCommand, "select 9": ErrCommand, "step -99": ErrCommand, "breakpoint 4": ErrCommand,
		"load": ErrCommand, "load bpf 1,0 0 0 0,": ErrUnfinished, "load bpf 1,": ErrSyntax, "quit": ErrQuit,
	} {
		if err := d.Exec(line); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", line, err, want)
		}
	}
	if err := newDebugger(&out).Exec("run"); !errors.Is(err, ErrNotReady) {
		t.Errorf("run without anything: %v", err)
	}
}

func FuzzDebugger(f *testing.F) {
	f.Add(debugged + "\nload pcap x\nrun\nstep 2\nstep -1\nb 1\nrun\nselect 2\nrun 1\ndump\nregisters")
	f.Fuzz(func(t *testing.T, lines string) {
		d := newDebugger(io.Discard, []byte{7}, []byte{8, 9}, nil)
		for _, line := range strings.Split(lines, "\n") {
			if d.Exec(line) == nil && d.prog != nil && Check(d.prog, Socket) != nil {
				t.Fatal("a program that was not checked is loaded")
			}
		}
	})
}

func FuzzRead(f *testing.F) {
	for format := Assembly; format <= AsmLine; format++ {
		f.Add(AppendProgram(nil, everyRow(), format))
	}
	f.Add(Encode(everyRow(), binary.LittleEndian))
	f.Fuzz(func(t *testing.T, data []byte) {
		prog, err := Read("fuzz", data, binary.LittleEndian, nil)
		if err != nil || len(prog) == 0 || len(prog) > MaxInstructions {
			return
		}
		for _, format := range []Format{CArray, Decimal, AsmC, AsmLine} {
			text := AppendProgram(nil, prog, format)
			again, err := Read("again", text, nil, nil)
			if err != nil || !slices.Equal(again, prog) {
				t.Fatalf("%s\nis read as %v, %v", text, again, err)
			}
		}
	})
}
