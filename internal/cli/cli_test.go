package cli

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/spf13/cobra"

	"github.com/skep-bpf/skep/internal/cli/ui"
	"github.com/skep-bpf/skep/internal/linux"
	"github.com/skep-bpf/skep/internal/oracle"
	"github.com/skep-bpf/skep/internal/serve"
)

func TestMain(m *testing.M) {
	if serve.IsShim() { // skep exec, in a script
		os.Exit(serve.Shim())
	}
	if f := clients[os.Getenv(clientEnv)]; f != nil { // what skep exec runs in a test
		if err := f(); err != nil {
			fmt.Fprintf(os.Stderr, "%+v\n", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	if os.Getenv("SKEP_TEST_AS_SKEP") != "" { // in tests that run skep themselves
		os.Exit(Main(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
	}
	os.Setenv("XDG_RUNTIME_DIR", "/nowhere") // whoever tests may keep a machine
	testscript.Main(m, map[string]func(){
		"skep": func() { os.Exit(Main(os.Args[1:], os.Stdin, os.Stdout, os.Stderr)) },
	})
}

// clientEnv makes the test binary one of clients, programs that talk bpf(2).
const clientEnv = "SKEP_CLI_CLIENT"

var clients = map[string]func() error{}

// TestScripts runs testdata/*.txtar. $EX is the examples folder, $CAP that of
// the captures, $OBJ that of image's test objects. Scripts named *_linux ask the
// live kernel and are skipped, saying so, where it cannot be asked.
func TestScripts(t *testing.T) {
	examples, err := filepath.Abs("../../examples")
	if err != nil {
		t.Fatal(err)
	}
	objects, err := filepath.Abs("../../image/testdata")
	if err != nil {
		t.Fatal(err)
	}
	scripts, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(scripts) == 0 {
		t.Fatal(scripts, err)
	}
	for _, script := range scripts {
		t.Run(strings.TrimSuffix(filepath.Base(script), ".txtar"), func(t *testing.T) {
			if strings.HasSuffix(script, "_linux.txtar") {
				oracle.Need(t, "bpf(2)", linux.Available())
			}
			bpftool := ""
			if filepath.Base(script) == "exec.txtar" {
				oracle.Need(t, "interception of system calls", serve.Available())
				bpftool = oracle.Tool(t, "bpftool")
			}
			testscript.Run(t, testscript.Params{
				Files: []string{script},
				Setup: func(e *testscript.Env) error {
					e.Setenv("EX", examples)
					e.Setenv("CAP", filepath.Join(examples, "captures"))
					e.Setenv("OBJ", objects)
					e.Setenv("BPFTOOL", bpftool)
					return nil
				},
				Cmds: map[string]func(*testscript.TestScript, bool, []string){
					"exits":   exits,
					"oneline": oneLine,
					"head":    head,
				},
				RequireExplicitExec: true,
			})
		})
	}
}

// exits N command… runs a command and checks its exit code.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits code command…")
	}
	err := ts.Exec(args[1], args[2:]...)
	code := "0"
	if err != nil {
		_, code, _ = strings.Cut(err.Error(), "exit status ")
	}
	if code != args[0] {
		ts.Fatalf("exit code %s (%v), want %s", code, err, args[0])
	}
}

// oneline checks that standard error is a single line that begins as told.
func oneLine(ts *testscript.TestScript, neg bool, args []string) {
	text := ts.ReadFile("stderr")
	if neg || len(args) != 1 {
		ts.Fatalf("usage: oneline beginning")
	}
	if strings.Count(text, "\n") != 1 || !strings.HasSuffix(text, "\n") || !strings.HasPrefix(text, args[0]) {
		ts.Fatalf("stderr is %q, want one line that begins with %q", text, args[0])
	}
}

// head from to n writes the first n bytes of a file to another.
func head(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: head from to bytes")
	}
	n := 0
	for _, c := range args[2] {
		n = n*10 + int(c-'0')
	}
	data := ts.ReadFile(args[0])
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), []byte(data[:min(n, len(data))]), 0o666))
}

// TestHelpExamples runs the examples of every command's help, from the module's root.
func TestHelpExamples(t *testing.T) {
	t.Chdir("../..")
	dir := t.TempDir()
	nounMachine := sync.OnceValue(func() string { return newMachine(t) })
	for _, cmd := range New(ui.New(strings.NewReader(""), &strings.Builder{}, &strings.Builder{})).Commands() {
		text := strings.ReplaceAll(cmd.Example, "\\\n", " ")
		onMachine, machine := strings.Contains(text, "/tmp/machine"), nounMachine
		if !slices.Contains(strings.Fields(nouns), cmd.Name()) {
			machine = sync.OnceValue(func() string { return newMachine(t) })
		}
		for _, line := range strings.Split(text, "\n") {
			words, ok := strings.CutPrefix(strings.TrimSpace(line), "skep ")
			if !ok || strings.HasSuffix(words, "&") || words == "tc exec bpf dbg" { // those end when they are told to
				continue
			}
			args := strings.Fields(strings.NewReplacer("'", "", "passed.pcap", dir+"/passed.pcap", "refused.html", dir+"/refused.html").Replace(words))
			if onMachine {
				if serve.Available() != nil { // what needs it says so in tests of its own
					continue
				}
				for i := range args {
					args[i] = strings.ReplaceAll(args[i], "/tmp/machine", machine())
				}
				t.Setenv("SKEP_MACHINE", machine())
				if r := command(t, self(t), args...); r.code != 0 || r.err != "" {
					t.Errorf("%s: exit code %d, %q", line, r.code, r.err)
				}
				continue
			}
			var out, errs strings.Builder
			code := Main(args, strings.NewReader(""), &out, &errs)
			// The verifier's example is about a program that is refused.
			if code > ui.ExitFailed || errs.Len() > 0 || out.Len() == 0 {
				t.Errorf("%s: exit code %d, %q", line, code, errs.String())
			}
		}
	}
}

// TestCommands holds every command to the common rules.
func TestCommands(t *testing.T) {
	root := New(ui.New(strings.NewReader(""), &strings.Builder{}, &strings.Builder{}))
	for _, cmd := range root.Commands() {
		if cmd.Name() == "help" || cmd.Name() == "completion" {
			continue
		}
		t.Run(cmd.Name(), func(t *testing.T) {
			if !strings.Contains(cmd.Example, "skep "+cmd.Name()) {
				t.Errorf("its help has no example")
			}
			if cmd.Short == "" || strings.HasSuffix(cmd.Short, ".") {
				t.Errorf("short description %q", cmd.Short)
			}
			if cmd.RunE == nil || cmd.Args == nil {
				t.Errorf("it does not say what arguments it takes, or runs nothing")
			}
		})
	}
	if err := checkUnique(root); err != "" {
		t.Error(err)
	}
}

func checkUnique(root *cobra.Command) string {
	seen := map[string]bool{}
	for _, cmd := range root.Commands() {
		if seen[cmd.Name()] {
			return "two commands are named " + cmd.Name()
		}
		seen[cmd.Name()] = true
	}
	return ""
}
