package capture

import (
	"bytes"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/skep-bpf/skep/internal/oracle"
)

// TestTcpdumpReadsTheSame has tcpdump copy captures, those of the examples and
// what our writer makes of them, and finds the same packets in its copies.
func TestTcpdumpReadsTheSame(t *testing.T) {
	tcpdump := oracle.Tool(t, "tcpdump")
	paths, err := filepath.Glob("../../examples/captures/*.pcap")
	if err != nil || len(paths) == 0 {
		t.Fatal(paths, err)
	}
	for _, path := range paths {
		want := readFile(t, path)
		for _, ending := range []string{".pcap", ".pcapng"} {
			ours := filepath.Join(t.TempDir(), "ours"+ending)
			rewrite(t, path, ours)
			for _, file := range []string{path, ours} {
				out, err := exec.Command(tcpdump, "--time-stamp-precision=nano", "-r", file, "-w", "-").Output()
				if err != nil {
					t.Fatal(err)
				}
				r, err := NewReader("tcpdump", bytes.NewReader(out))
				if err != nil {
					t.Fatal(err)
				}
				got, err := readAll(r)
				if err != nil {
					t.Fatal(err)
				}
				if d := cmp.Diff(want, got); d != "" {
					t.Errorf("%s: %s", file, d)
				}
			}
		}
	}
}

func readFile(t *testing.T, path string) []record {
	t.Helper()
	r, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	records, err := readAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return records
}

// rewrite copies a capture through our reader and writer.
func rewrite(t *testing.T, from, to string) {
	t.Helper()
	r, err := Open(from)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	w, err := Create(to)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Abort()
	for {
		p, err := r.Next()
		if err != nil {
			break
		}
		if err := w.Write(p, p.Data); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Commit(); err != nil {
		t.Fatal(err)
	}
}
