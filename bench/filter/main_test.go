package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestSmallCaptures goes through the comparison of files with captures of a megabyte.
func TestSmallCaptures(t *testing.T) {
	t.Chdir("..")
	var out strings.Builder
	if err := files(&out, &options{rounds: 1, size: 1 << 20, dir: t.TempDir()}); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(out.String(), "| `"); n != len(captures)*len(expressions) {
		t.Errorf("%d rows in\n%s", n, out.String())
	}
}

// TestTcpdumpCountsAlike has tcpdump read a capture and find the packets skep finds.
func TestTcpdumpCountsAlike(t *testing.T) {
	if _, err := exec.LookPath("tcpdump"); err != nil {
		t.Skip(err)
	}
	t.Chdir("..")
	dir := t.TempDir()
	skep, err := buildSkep(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range captures {
		path, err := c.make(dir, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range expressions {
			theirs, ours := filepath.Join(dir, "theirs"), filepath.Join(dir, "ours")
			if text, err := exec.Command("tcpdump", "-r", path, "-w", theirs, e).CombinedOutput(); err != nil {
				t.Fatalf("%v %s", err, text)
			}
			if text, err := exec.Command(skep, "filter", "-r", path, "-w", ours, e).CombinedOutput(); err != nil {
				t.Fatalf("%v %s", err, text)
			}
			if a, b := packets(t, theirs), packets(t, ours); a != b {
				t.Errorf("%s, %s: tcpdump and skep kept different packets", c.name, e)
			}
		}
	}
}

// packets is a capture without its header.
func packets(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data[24:])
}
