package oracle

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"testing"
)

// recorder is a test that notes how it ends.
type recorder struct {
	testing.TB
	skipped, failed string
}

func (*recorder) Helper() {}

func (r *recorder) Skipf(format string, args ...any) {
	r.skipped = fmt.Sprintf(format, args...)
	runtime.Goexit()
}

func (r *recorder) Fatalf(format string, args ...any) {
	r.failed = fmt.Sprintf(format, args...)
	runtime.Goexit()
}

// ends runs f as a test of its own.
func ends(f func(t testing.TB)) *recorder {
	r := &recorder{}
	done := make(chan struct{})
	go func() {
		defer close(done)
		f(r)
	}()
	<-done
	return r
}

func TestNeed(t *testing.T) {
	missing := func(t testing.TB) { Need(t, "bpf(2)", errors.New("not permitted")) }
	t.Setenv(Env, "")
	if r := ends(func(t testing.TB) { Need(t, "bpf(2)", nil) }); r.skipped+r.failed != "" {
		t.Errorf("an oracle that is there: %+v", r)
	}
	if r := ends(missing); r.skipped != "not compared with bpf(2): not permitted" || r.failed != "" {
		t.Errorf("a missing one: skipped %q, failed %q", r.skipped, r.failed)
	}
	t.Setenv(Env, "required")
	if r := ends(missing); r.failed != "bpf(2) is required (SKEP_ORACLES=required) and not to be had: not permitted" || r.skipped != "" {
		t.Errorf("a missing one that is required: skipped %q, failed %q", r.skipped, r.failed)
	}
}

func TestTool(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "second.exe") // with the ending Windows looks for
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir)
	t.Setenv(Env, "")
	var got string
	if r := ends(func(t testing.TB) { got = Tool(t, "first.exe", "second.exe") }); got != path || r.skipped != "" {
		t.Errorf("%q, skipped %q; want %q", got, r.skipped, path)
	}
	if r := ends(func(t testing.TB) { Tool(t, "first.exe", "third.exe") }); r.skipped == "" {
		t.Error("neither is there, and the test was not skipped")
	}
}
