package examples

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/skep-bpf/skep/internal/oracle"
)

// TestObjectsAreFresh rebuilds every object from its source, in a directory of
// another name, and fails when a committed one differs.
func TestObjectsAreFresh(t *testing.T) {
	clang := oracle.Tool(t, "clang-19")
	strip := oracle.Tool(t, "llvm-strip-19")
	makeTool := oracle.Tool(t, "make")

	dir := t.TempDir()
	for _, pattern := range []string{"Makefile", "*/*.c", "*/*.h"} {
		for _, name := range glob(t, pattern) {
			data, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			to := filepath.Join(dir, name)
			if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(to, data, 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	cmd := exec.Command(makeTool, "-C", dir, "-j2", "CLANG="+clang, "STRIP="+strip)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}

	for _, source := range glob(t, "*/*.c") {
		object := source[:len(source)-1] + "o"
		t.Run(object, func(t *testing.T) {
			want, err := os.ReadFile(filepath.Join(dir, object))
			if err != nil {
				t.Fatal(err)
			}
			got, err := os.ReadFile(object)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got, want) {
				t.Errorf("%s is not what %s makes of its source: run make in examples", object, filepath.Base(clang))
			}
		})
	}
}

func glob(t *testing.T, pattern string) []string {
	t.Helper()
	names, err := filepath.Glob(pattern)
	if err != nil {
		t.Fatal(err)
	}
	if len(names) == 0 {
		t.Fatalf("nothing is named %s", pattern)
	}
	return names
}
