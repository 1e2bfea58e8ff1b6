package examples

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/cilium/ebpf/btf"
	"github.com/google/go-cmp/cmp"

	"github.com/skep-bpf/skep/internal/cli"
	"github.com/skep-bpf/skep/internal/linux"
	"github.com/skep-bpf/skep/internal/oracle"
)

var update = flag.Bool("update", false, "rewrite the outputs in the READMEs by what skep's engine prints")

// block is a command and its output in a README:
//
//	```console
//	$ skep run …
//	output
//	```
var block = regexp.MustCompile("(?s)```console\n\\$ skep ([^\n]*)\n(.*?)```")

// TestREADMEs runs every command of the READMEs on every engine and compares
// all it prints: verdicts, maps, traces.
func TestREADMEs(t *testing.T) {
	t.Chdir("..")
	for _, path := range glob(t, "examples/*/README.md") {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		blocks := block.FindAllSubmatch(text, -1)
		if len(blocks) == 0 {
			continue
		}
		t.Run(filepath.Base(filepath.Dir(path)), func(t *testing.T) {
			if *update {
				text = block.ReplaceAllFunc(text, func(b []byte) []byte {
					command := string(block.FindSubmatch(b)[1])
					return []byte("```console\n$ skep " + command + "\n" + skep(t, command) + "```")
				})
				if err := os.WriteFile(path, text, 0o644); err != nil {
					t.Fatal(err)
				}
				blocks = block.FindAllSubmatch(text, -1)
			}
			for _, b := range blocks {
				command, want := string(b[1]), untimed(string(b[2]))
				t.Run("skep", func(t *testing.T) {
					needKernelTypes(t, command)
					if d := cmp.Diff(want, untimed(skep(t, command))); d != "" {
						t.Errorf("%s\n%s", command, d)
					}
				})
				if engines.MatchString(command) {
					t.Run("linux", func(t *testing.T) {
						oracle.Need(t, "bpf(2)", linux.Available())
						if d := cmp.Diff(stateless(want), stateless(untimed(skep(t, command+" --engine linux")))); d != "" {
							t.Errorf("%s\n%s", command, d)
						}
					})
				}
				if strings.HasPrefix(command, "run ") {
					t.Run("checked", func(t *testing.T) {
						needKernelTypes(t, command)
						if d := cmp.Diff(want, untimed(skep(t, command+" --checked"))); d != "" {
							t.Errorf("%s\n%s", command, d)
						}
					})
					t.Run("packets", func(t *testing.T) { comparePackets(t, command) })
				}
			}
		})
	}
}

// comparePackets compares the packets that a command writes on both engines, bit for bit.
func comparePackets(t *testing.T, command string) {
	oracle.Need(t, "bpf(2)", linux.Available())
	dir := t.TempDir()
	ours, theirs := filepath.Join(dir, "skep.pcap"), filepath.Join(dir, "linux.pcap")
	skep(t, command+" --out "+ours)
	skep(t, command+" --engine linux --out "+theirs)
	if a, b := contents(t, ours), contents(t, theirs); !bytes.Equal(a, b) {
		t.Errorf("%s --out: skep wrote %d bytes, the kernel %d, and they differ", command, len(a), len(b))
	}
}

func contents(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// skep runs a command and returns what it prints.
func skep(t *testing.T, command string) string {
	t.Helper()
	var out, errs bytes.Buffer
	code := cli.Main(words(command), strings.NewReader(""), &out, &errs)
	if errs.Len() > 0 || code > 1 {
		t.Fatalf("skep %s: exit code %d: %s", command, code, errs.String())
	}
	return out.String()
}

// engines matches the commands that have a choice of them.
var engines = regexp.MustCompile(`^(run|verify) `)

// word is a shell word: plain, or in single quotes.
var word = regexp.MustCompile(`'[^']*'|\S+`)

func words(command string) []string {
	list := word.FindAllString(command, -1)
	for i, w := range list {
		list[i] = strings.Trim(w, "'")
	}
	return list
}

// needKernelTypes skips commands on objects that call kernel functions, where
// there are no kernel types to find these in.
func needKernelTypes(t *testing.T, command string) {
	if strings.Contains(command, "bpf_for.o") || strings.Contains(command, "congestion/") {
		oracle.DeclTags(t)
		_, err := btf.LoadKernelSpec()
		oracle.Need(t, "kernel BTF", err)
	}
}

// Times differ from run to run, and how much of the state space a kernel's
// verifier keeps from release to release.
var (
	times  = regexp.MustCompile(`, in \S+; [0-9.,]+ ?\S+ in the program`)
	clocks = regexp.MustCompile(`\.time = \d+`)
	states = regexp.MustCompile(`(?m)^(\S+ +\S+ +\d+ +(?:accepted|refused)) .*$`)
)

func untimed(text string) string {
	return clocks.ReplaceAllString(times.ReplaceAllString(text, ", in …"), ".time = …")
}

func stateless(text string) string { return states.ReplaceAllString(text, "$1") }
