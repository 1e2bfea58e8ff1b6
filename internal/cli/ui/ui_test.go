package ui

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestTable(t *testing.T) {
	s := &Streams{}
	table := s.NewTable("verdict", ">packets", "")
	table.Row("XDP_PASS", "72", "ok")
	table.Row("é", "1,000")
	var b strings.Builder
	if err := table.Print(&b); err != nil {
		t.Fatal(err)
	}
	want := "verdict   packets\nXDP_PASS       72  ok\né           1,000\n"
	if b.String() != want {
		t.Errorf("got\n%q\nwant\n%q", b.String(), want)
	}
	s.colour = true
	b.Reset()
	table = s.NewTable("", "")
	table.Styled(Red, "no", "x")
	table.Styled(Green, "yes", "y")
	table.Print(&b)
	if want := "\x1b[31mno\x1b[0m   x\n\x1b[32myes\x1b[0m  y\n"; b.String() != want {
		t.Errorf("got %q, want %q", b.String(), want)
	}
}

func TestReport(t *testing.T) {
	for _, c := range []struct {
		err  error
		code int
		text string
	}{
		{nil, ExitOK, ""},
		{ErrSilent, ExitFailed, ""},
		{fmt.Errorf("write: %w", syscall.EPIPE), ExitFailed, ""},
		{errors.New("a\nb"), ExitFailed, "skep x: a; b\n"},
		{errors.New("evil \x1b[2J name"), ExitFailed, "skep x: evil \\x1b[2J name\n"},
		{Usagef("what?"), ExitUsage, "skep x: what?\n"},
		{fmt.Errorf("f: %w", Usagef("what?")), ExitUsage, "skep x: f: what?\n"},
	} {
		var b strings.Builder
		if code := Report(&b, "skep x", c.err); code != c.code || b.String() != c.text {
			t.Errorf("%v: %d %q, want %d %q", c.err, code, b.String(), c.code, c.text)
		}
	}
}

func TestBar(t *testing.T) {
	for _, c := range []struct {
		done, total int64
		took        time.Duration
		width       int
		want        string
	}{
		{500e6, 1e9, 2 * time.Second, 80, "[################················]   50%  500 MB of 1.00 GB  250 MB/s  2s left"},
		{500e6, 1e9, 2 * time.Second, 40, " 50%  500 MB of 1.00 GB  250 MB/s  2s left"},
		{2e9, 1e9, time.Second, 70, "[####################]  100%  1.00 GB of 1.00 GB  2.00 GB/s  0s left"},
		{1500, 0, time.Second, 80, "1.50 kB  1.50 kB/s"},
		{0, 100, time.Second, 60, "[·····················]    0%  0 B of 100 B  0 B/s  ? left"},
	} {
		if got := bar(c.done, c.total, c.took, c.width); got != c.want {
			t.Errorf("bar(%d, %d, %v, %d)\n got %q\nwant %q", c.done, c.total, c.took, c.width, got, c.want)
		}
	}
}

// TestProgressIsQuiet checks that a short job and one without a terminal leave no trace.
func TestProgressIsQuiet(t *testing.T) {
	for _, terminal := range []bool{false, true} {
		var b bytes.Buffer
		s := &Streams{Err: &b, progress: terminal}
		s.NewProgress(func() (int64, int64) { return 1, 2 }).Stop()
		if b.Len() != 0 {
			t.Errorf("terminal %v: %q was written", terminal, b.String())
		}
	}
}

func TestNumbers(t *testing.T) {
	for n, want := range map[int64]string{0: "0 B", 999: "999 B", 1000: "1.00 kB", 23544: "23.5 kB", 999_499: "999 kB", 999_500: "1.00 MB", 1063304024: "1.06 GB"} {
		if got := Bytes(n); got != want {
			t.Errorf("Bytes(%d) = %q, want %q", n, got, want)
		}
	}
	for n, want := range map[uint64]string{0: "0", 999: "999", 1000: "1,000", 1234567: "1,234,567"} {
		if got := Count(n); got != want {
			t.Errorf("Count(%d) = %q, want %q", n, got, want)
		}
	}
}

func TestWriteFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "out")
	if err := WriteFile(path, []byte("one")); err != nil {
		t.Fatal(err)
	}
	if err := WriteFile(filepath.Join(dir, "no", "out"), []byte("two")); err == nil {
		t.Error("a file in no directory was written")
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 1 {
		t.Errorf("%d files are left, want 1", len(entries))
	}
	if err := WriteFile(os.DevNull, []byte("x")); err != nil {
		t.Error(err)
	}
	if st, err := os.Stat(os.DevNull); err != nil || st.Mode().IsRegular() {
		t.Errorf("%s was replaced", os.DevNull)
	}
}

func TestReadFile(t *testing.T) {
	s := &Streams{In: strings.NewReader("from stdin")}
	if b, err := s.ReadFile("-"); err != nil || string(b) != "from stdin" {
		t.Errorf("%q, %v", b, err)
	}
	if _, err := s.ReadFile(t.TempDir()); err == nil {
		t.Error("a directory was read")
	}
}

func TestThere(t *testing.T) {
	for want, names := range map[string][]string{
		"there are none":       nil,
		"there is a":           {"a"},
		"there are a and b":    {"a", "b"},
		"there are a, b and c": {"a", "b", "c"},
	} {
		if got := There(names); got != want {
			t.Errorf("%q: %s, want %s", names, got, want)
		}
	}
}
