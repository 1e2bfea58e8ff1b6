package explain_test

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/skep-bpf/skep/image"
	"github.com/skep-bpf/skep/internal/cli/engine"
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/linux"
	"github.com/skep-bpf/skep/internal/oracle"
	"github.com/skep-bpf/skep/verify"
)

// refused is a file of testdata: a program named wrong that is refused, the
// kind of refusal it has in a comment, a comment "change:" above the line to
// change, and its fixed twin named right.
type refused struct {
	name   string
	source string
	kind   string
	line   int // the line to change
	x      *verify.Explanation
}

var kindLine = regexp.MustCompile(`(?m)^// kind: ([\w-]+)$`)

var loadedCases []*refused

// loadCases verifies all programs, once.
func loadCases(t *testing.T) []*refused {
	if _, err := os.Stat("/sys/kernel/btf/vmlinux"); err != nil {
		oracle.Need(t, "kernel BTF", err) // some programs use kernel functions and types
	}
	if loadedCases == nil {
		loadedCases = readCases(t)
	}
	return loadedCases
}

func readCases(t *testing.T) (cases []*refused) {
	files, err := filepath.Glob("testdata/*.c")
	if err != nil || len(files) == 0 {
		t.Fatalf("no programs: %v", err)
	}
	for _, f := range files {
		src, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		c := &refused{name: strings.TrimSuffix(filepath.Base(f), ".c"), source: string(src)}
		m := kindLine.FindStringSubmatch(c.source)
		if m == nil {
			t.Fatalf("%s: no kind", f)
		}
		c.kind = m[1]
		for i, l := range strings.Split(c.source, "\n") {
			if strings.TrimSpace(l) == "// change:" {
				c.line = i + 2
			}
		}
		r, err := verify.Load(c.object(), &verify.Options{Explain: true})
		if err != nil {
			t.Fatal(err)
		}
		wrong, right := r.Program("wrong"), r.Program("right")
		if wrong == nil || right == nil {
			t.Fatalf("%s: programs are named wrong and right", f)
		}
		if right.Err != nil {
			t.Errorf("%s: right is refused: %v\n%s", f, right.Err, right.Explanation)
		}
		if c.x = wrong.Explanation; c.x == nil {
			t.Errorf("%s: wrong is accepted", f)
			continue
		}
		cases = append(cases, c)
	}
	return cases
}

func (c *refused) object() string { return filepath.Join("testdata", c.name+".o") }

// TestRefused: each program is refused for its kind of reason, and the line that has to change is named.
func TestRefused(t *testing.T) {
	for _, c := range loadCases(t) {
		t.Run(c.name, func(t *testing.T) {
			if c.x.Kind == nil || c.x.Kind.ID != c.kind {
				t.Errorf("kind %v, want %s\n%s", c.x.Kind, c.kind, c.x)
			}
			if c.line != 0 && c.x.Fix.Line != c.line {
				t.Errorf("the line to change is %d, want %d\n%s", c.x.Fix.Line, c.line, c.x)
			}
		})
	}
}

// TestKernelRefuses: the live kernel refuses the programs in the same words, and takes their twins.
func TestKernelRefuses(t *testing.T) {
	oracle.Need(t, "bpf(2)", linux.Available())
	open := engine.ByName(engine.Linux)
	asked := 0
	for _, c := range loadCases(t) {
		t.Run(c.name, func(t *testing.T) {
			img, err := image.LoadFile(c.object(), nil)
			if err != nil {
				t.Fatal(err)
			}
			coll, err := open(img, &engine.Options{})
			if err != nil {
				t.Fatal(err)
			}
			defer coll.Close()
			right, err := coll.Verify(img.Program("right"), 1)
			if err != nil {
				t.Fatal(err)
			}
			if errors.Is(right.Refused, errno.EPERM) {
				return // programs that attach to kernel functions
			}
			asked++
			if right.Refused != nil {
				t.Errorf("right is refused: %v\n%s", right.Refused, right.Log)
			}
			level := uint32(1)
			if c.kind == "too-complex" {
				level = 4 // a log of all that takes long
			}
			wrong, err := coll.Verify(img.Program("wrong"), level)
			if err != nil {
				t.Fatal(err)
			}
			if wrong.Refused == nil {
				t.Error("wrong is accepted")
			} else if !strings.Contains(wrong.Log, c.x.Reason) {
				t.Errorf("the kernel does not say %q but\n%s", c.x.Reason, wrong.Log)
			}
		})
	}
	t.Logf("%d programs", asked)
}

// TestObjectsAreFresh rebuilds the programs from their sources, in a directory
// of another name, and fails when a committed object differs.
func TestObjectsAreFresh(t *testing.T) {
	clang := oracle.Tool(t, "clang-19")
	strip := oracle.Tool(t, "llvm-strip-19")
	makeTool := oracle.Tool(t, "make")
	include, err := filepath.Abs("../../examples/include")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	sources, _ := filepath.Glob("testdata/*.c")
	for _, name := range append(sources, "testdata/Makefile", "testdata/refusals.h") {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, filepath.Base(name)), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command(makeTool, "-C", dir, "-j2", "CLANG="+clang, "STRIP="+strip, "INCLUDE="+include)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, source := range sources {
		object := strings.TrimSuffix(source, "c") + "o"
		want, err := os.ReadFile(filepath.Join(dir, filepath.Base(object)))
		if err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(object)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s is not what %s makes of its source: run make in internal/explain/testdata", object, filepath.Base(clang))
		}
	}
}
