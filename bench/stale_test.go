package bench

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/skep-bpf/skep/internal/oracle"
)

// TestObjectsAreFresh rebuilds the objects in another directory and fails when a
// committed one differs.
func TestObjectsAreFresh(t *testing.T) {
	for _, tool := range []string{"make", "clang-19", "llvm-strip-19", "wasm-ld-19"} {
		oracle.Tool(t, tool)
	}
	root := t.TempDir()
	for _, dir := range []string{"bench/workloads", "examples/include", "examples/balancer"} {
		copySources(t, filepath.Join("..", dir), filepath.Join(root, dir))
	}
	dir := filepath.Join(root, "bench/workloads")
	if out, err := exec.Command("make", "-C", dir).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for name, want := range map[string][]byte{"workloads.o": Object, "balancer.o": Balancer, "long.o": Long, "workloads.wasm": Wasm} {
		got, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s is not what clang makes of its source: run make in bench/workloads", name)
		}
	}
}

func copySources(t *testing.T, from, to string) {
	t.Helper()
	if err := os.MkdirAll(to, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, pattern := range []string{"Makefile", "*.c", "*.h"} {
		names, err := filepath.Glob(filepath.Join(from, pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			data, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(to, filepath.Base(name)), data, 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
}
