package main

import (
	"bytes"
	"os"
	"regexp"
	"testing"
	"time"

	"github.com/skep-bpf/skep/internal/serve"
)

func TestMain(m *testing.M) {
	if serve.IsShim() {
		os.Exit(serve.Shim())
	}
	if os.Getenv(clientEnv) != "" {
		if err := client(os.Stdin, os.Stdout); err != nil {
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// TestRun measures everything once, if there is a kernel to compare with.
func TestRun(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("bpf(2) needs root")
	}
	var out bytes.Buffer
	if err := run(&out, regexp.MustCompile(""), 1, time.Microsecond); err != nil {
		t.Fatal(err)
	}
	if n := bytes.Count(out.Bytes(), []byte("\n")); n < 10 {
		t.Errorf("%d lines:\n%s", n, out.String())
	}
}
