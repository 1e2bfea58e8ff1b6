package prog

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/skep-bpf/skep/internal/cli/ui"
	"github.com/skep-bpf/skep/internal/linux"
	"github.com/skep-bpf/skep/internal/oracle"
)

const object, program = "../../../examples/loops/loops.o", "looped"

var bpftool string // its path

// ours is what the command prints.
func ours(t *testing.T, args ...string) string {
	t.Helper()
	var out bytes.Buffer
	cmd := NewCmd(ui.New(strings.NewReader(""), &out, os.Stderr))
	cmd.SetArgs(append([]string{"dump"}, args...))
	if err := cmd.Execute(); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// theirs is what bpftool prints of the same program on the live kernel.
func theirs(t *testing.T, args ...string) string {
	t.Helper()
	out, err := exec.Command(bpftool, args...).Output()
	if err != nil {
		t.Fatalf("bpftool %v: %v", args, err)
	}
	return string(out)
}

// inKernel loads the example into the kernel and returns where it is pinned.
func inKernel(t *testing.T) string {
	t.Helper()
	oracle.Need(t, "bpf(2)", linux.Available())
	bpftool = oracle.Tool(t, "bpftool")
	dir := fmt.Sprintf("/sys/fs/bpf/skep-test-%d", os.Getpid())
	oracle.Need(t, "a BPF file system", os.Mkdir(dir, 0o700))
	t.Cleanup(func() { os.RemoveAll(dir) })
	theirs(t, "prog", "loadall", object, dir)
	return dir + "/" + program
}

// The form of every dump is bpftool's: types of functions, lines of source and
// their places, instructions, fields of JSON, graphs. What the instructions are
// differs, since the kernel rewrites other things than skep.
func TestDumpsLookLikeBpftools(t *testing.T) {
	pinned := inKernel(t)
	instruction := regexp.MustCompile(`^ {0,3}\d+: \([0-9a-f]{2}\) `)
	opcodes := regexp.MustCompile(`^       ([0-9a-f]{2} ){7}[0-9a-f]{2}`)
	for _, option := range []string{"", "linum", "opcodes"} {
		args := strings.Fields(option)
		var frames [2][]string
		for i, text := range []string{
			ours(t, append([]string{"xlated", object + ":" + program}, args...)...),
			theirs(t, append([]string{"prog", "dump", "xlated", "pinned", pinned}, args...)...),
		} {
			for line := range strings.Lines(text) {
				if !instruction.MatchString(line) && !opcodes.MatchString(line) {
					frames[i] = append(frames[i], line)
				}
			}
		}
		if !slices.Equal(frames[0], frames[1]) {
			t.Errorf("xlated %s:\n%s\nbpftool:\n%s", option, strings.Join(frames[0], ""), strings.Join(frames[1], ""))
		}
	}

	for _, option := range []string{"linum", "opcodes"} {
		keys := func(text string) map[string]bool {
			var list []map[string]any
			if err := json.Unmarshal([]byte(text), &list); err != nil {
				t.Fatal(err)
			}
			all := map[string]bool{}
			for _, insn := range list {
				for k, v := range insn {
					all[fmt.Sprintf("%s %T", k, v)] = true
					if m, ok := v.(map[string]any); ok {
						for k, v := range m {
							all[fmt.Sprintf("opcodes.%s %T", k, v)] = true
						}
					}
				}
			}
			return all
		}
		a := keys(ours(t, "-j", "xlated", object+":"+program, option))
		b := keys(theirs(t, "-j", "prog", "dump", "xlated", "pinned", pinned, option))
		if fmt.Sprint(a) != fmt.Sprint(b) {
			t.Errorf("JSON of xlated %s has %v, bpftool's %v", option, a, b)
		}
	}

	shape := func(text string) (lines []string) {
		digits := regexp.MustCompile(`\d+`)
		for line := range strings.Lines(text) {
			line = digits.ReplaceAllString(line, "N")
			if !strings.Contains(line, `\l\`) && !slices.Contains(lines, line) {
				lines = append(lines, line)
			}
		}
		slices.Sort(lines)
		return lines
	}
	a := shape(ours(t, "xlated", object+":"+program, "visual"))
	b := shape(theirs(t, "prog", "dump", "xlated", "pinned", pinned, "visual"))
	if !slices.Equal(a, b) {
		t.Errorf("lines of graphs:\n%s\nbpftool:\n%s", strings.Join(a, ""), strings.Join(b, ""))
	}
	subprogram := regexp.MustCompile(`(?s)subgraph "cluster_1".*`) // it works on its arguments alone, and is rewritten by nobody
	if a, b := subprogram.FindString(ours(t, "xlated", object+":"+program, "visual")), subprogram.FindString(theirs(t, "prog", "dump", "xlated", "pinned", pinned, "visual")); a != b {
		t.Errorf("graph of a subprogram:\n%s\nbpftool:\n%s", a, b)
	}

	var show struct{ Tag string }
	if err := json.Unmarshal([]byte(theirs(t, "-j", "prog", "show", "pinned", pinned)), &show); err != nil {
		t.Fatal(err)
	}
	if symbol := "bpf_prog_" + show.Tag + "_" + program + ":"; hashesAsWeDo(t) && !strings.Contains(ours(t, "jited", object+":"+program), symbol) {
		t.Errorf("no symbol %s", symbol)
	}
}

// hashesAsWeDo reports whether the kernel's tags are SHA-256, as from 6.18 on.
func hashesAsWeDo(t *testing.T) bool {
	release, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		t.Fatal(err)
	}
	var major, minor int
	fmt.Sscanf(string(release), "%d.%d", &major, &minor)
	return major > 6 || major == 6 && minor >= 18
}

// Machine code has its source lines, and its JSON bpftool's fields.
func TestJited(t *testing.T) {
	text := ours(t, "jited", object+":"+program, "opcodes", "linum")
	for _, want := range []string{
		"int looped(struct xdp_md * ctx):\nbpf_prog_", "_looped:\n; int looped(struct xdp_md *ctx) [file:./loops/loops.c line_num:",
		"\nlong add(__u32 i, struct adder * a):\nbpf_prog_", "_add:\n; ", "   0:\t",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	var funcs []struct {
		Proto, Name string
		Insns       []map[string]any
	}
	if err := json.Unmarshal([]byte(ours(t, "-p", "jited", object+":"+program, "opcodes", "linum")), &funcs); err != nil {
		t.Fatal(err)
	}
	if len(funcs) != 2 || funcs[1].Proto != "long add(__u32 i, struct adder * a)" || !strings.HasSuffix(funcs[1].Name, "_add") {
		t.Fatalf("%+v", funcs)
	}
	first := funcs[0].Insns[0]
	for _, key := range []string{"src", "file", "line_num", "pc", "operation", "operands", "opcodes"} {
		if first[key] == nil {
			t.Errorf("the first instruction has no %s: %v", key, first)
		}
	}
}
