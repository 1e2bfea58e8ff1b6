package verifier_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"

	"github.com/skep-bpf/skep/internal/explain"
	"github.com/skep-bpf/skep/internal/oracle"
	"github.com/skep-bpf/skep/internal/verifier"
	"github.com/skep-bpf/skep/verify"
)

// shown is a refused program that a page of docs/errors or docs/explain.md shows.
type shown struct {
	name   string
	kind   string
	c      string // its source in C, with its twin
	asm    string // or in assembly, with the twin in asmTwin
	twin   string
	x      *verify.Explanation
	object string
}

// noProgram are kinds that no page has a program for, and why.
var noProgram = map[string]string{
	"internal":         "No program is known to do this.",
	"unsupported":      "What has no model changes from version to version: [verifier.md](../verifier.md) lists it.",
	"program-size":     "A program with 65 maps or 257 functions is too long to show.",
	"loop-not-allowed": "It takes a caller without CAP_BPF, whom most kernels let load nothing (kernel.unprivileged_bpf_disabled).",
}

var kindComment = regexp.MustCompile(`(?m)^// kind: ([\w-]+)$`)

// programs are those in C of internal/explain, then those in assembly of errors.txtar.
func programs(t *testing.T) (list []*shown) {
	files, err := filepath.Glob("../explain/testdata/*.c")
	if err != nil || len(files) == 0 {
		t.Fatal("no programs", err)
	}
	for _, f := range files {
		src, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		p := &shown{name: strings.TrimSuffix(filepath.Base(f), ".c"), object: strings.TrimSuffix(f, ".c") + ".o"}
		p.kind = kindComment.FindStringSubmatch(string(src))[1]
		_, body, _ := strings.Cut(string(src), "#include \"refusals.h\"\n")
		p.c = strings.TrimSpace(body) + "\n"
		r, err := verify.Load(p.object, &verify.Options{Programs: []string{"wrong"}, Explain: true})
		if err != nil {
			t.Fatal(err)
		}
		p.x = r.Programs[0].Explanation
		list = append(list, p)
	}
	ar, err := txtar.ParseFile("testdata/errors.txtar")
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(ar.Files); i += 2 {
		bad, good := ar.Files[i], ar.Files[i+1]
		if good.Name != bad.Name+" fixed" {
			t.Fatalf("errors.txtar: %s is followed by %s, not by its twin", bad.Name, good.Name)
		}
		c := parseCase(t, bad)
		h := verifier.HistoryOf(&c.prog, c.options())
		if h == nil {
			t.Fatalf("errors.txtar: %s is accepted", bad.Name)
		}
		list = append(list, &shown{
			name: bad.Name, kind: bad.Name, asm: withoutVerdict(bad.Data), twin: string(good.Data), x: explain.Explain(h),
		})
	}
	for _, p := range list {
		if p.x == nil || p.x.Kind == nil || p.x.Kind.ID != p.kind {
			t.Errorf("%s: explained as %v, want %s", p.name, p.x, p.kind)
		}
	}
	return list
}

// withoutVerdict is a case's text without its refuse line.
func withoutVerdict(text []byte) string {
	var lines []string
	for _, l := range strings.Split(string(text), "\n") {
		if !strings.HasPrefix(l, "refuse:") {
			lines = append(lines, l)
		}
	}
	return strings.TrimLeft(strings.Join(lines, "\n"), "\n")
}

// TestErrorPages: docs/errors has a page for every kind, and docs/explain.md
// every program, as they are. Each program is of the kind its page is about.
func TestErrorPages(t *testing.T) {
	if kernelBTF() == nil {
		oracle.Need(t, "kernel BTF", errors.New("the kernel has none"))
	}
	list := programs(t)
	if t.Failed() {
		return
	}
	for _, k := range explain.Kinds() {
		var own []*shown
		for _, p := range list {
			if p.kind == k.ID {
				own = append(own, p)
			}
		}
		if len(own) == 0 && noProgram[k.ID] == "" {
			t.Errorf("no program shows %s: add one to internal/explain/testdata or testdata/errors.txtar", k.ID)
		}
		// The program of the kind's own name comes first.
		slices.SortStableFunc(own, func(a, b *shown) int {
			return map[bool]int{true: 0, false: 1}[a.name == k.ID] - map[bool]int{true: 0, false: 1}[b.name == k.ID]
		})
		golden(t, filepath.Join("../..", k.Page()), page(k, own))
	}
	golden(t, "../../docs/errors/README.md", index())
	golden(t, "../../docs/explain.md", explainPage(t, list))

	pages, _ := filepath.Glob("../../docs/errors/*.md")
	for _, f := range pages {
		if id := strings.TrimSuffix(filepath.Base(f), ".md"); id != "README" && explain.KindByID(id) == nil {
			t.Errorf("%s is of no kind: remove it", f)
		}
	}
}

// golden compares a generated page with the file, or writes it with -update.
func golden(t *testing.T, file, want string) {
	t.Helper()
	got, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	if bytes.Equal(got, []byte(want)) {
		return
	}
	if !*update {
		t.Errorf("%s is stale: go test ./internal/verifier -run ErrorPages -update", file)
		return
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(want), 0o644); err != nil {
		t.Fatal(err)
	}
}

func page(k *explain.Kind, own []*shown) string {
	var b strings.Builder
	fmt.Fprintf(&b, "<!-- go test ./internal/verifier -run ErrorPages -update -->\n# %s\n\n`%s`\n\n%s\n\n", k.Title, k.ID, k.Requires)
	fmt.Fprintf(&b, "**How it happens.** %s\n\n**What to do.** %s\n", k.How, k.Fix)
	if len(own) == 0 {
		fmt.Fprintf(&b, "\n%s\n", noProgram[k.ID])
	} else {
		p := own[0]
		b.WriteString("\n## A program\n\n")
		if p.c != "" {
			fmt.Fprintf(&b, "`wrong` is refused, `right` is its fixed twin ([source](../../internal/explain/testdata/%s.c)).\n\n```c\n%s```\n", p.name, p.c)
		} else {
			fmt.Fprintf(&b, "In assembly; above it what it is loaded with ([notation](../isa.md)).\n\n```\n%s```\n", p.asm)
		}
		fmt.Fprintf(&b, "\n`skep verify --explain` says:\n\n```\n%s```\n", withoutMore(p.x))
		if p.c == "" {
			fmt.Fprintf(&b, "\nIts fixed twin:\n\n```\n%s```\n", p.twin)
		}
		if len(own) > 1 {
			b.WriteString("\nMore programs of this kind: ")
			for i, p := range own[1:] {
				if i > 0 {
					b.WriteString(", ")
				}
				fmt.Fprintf(&b, "[%s](../explain.md#%s)", p.name, p.name)
			}
			b.WriteString(".\n")
		}
	}
	if len(k.Reasons) > 0 {
		b.WriteString("\n## Messages\n\nThe verifier says one of these; `%d` and `%s` stand for numbers and names.\n\n")
		for _, r := range k.Reasons {
			if r == "%s" {
				r = "REG INVARIANTS VIOLATION …"
			}
			fmt.Fprintf(&b, "- `%s`%s\n", strings.ReplaceAll(r, "\n", " "), ours(r))
		}
	}
	return b.String()
}

// silentReasons begin as no message of the kernel does: they stand for refusals without words.
var silentReasons = regexp.MustCompile(`^(a|an|no|the|these|this) `)

func ours(reason string) string {
	if silentReasons.MatchString(reason) && !strings.Contains(reason, "%") && !strings.HasPrefix(reason, "the prog ") && reason != "no direct value access support for this map type" {
		return " (skep's words: the kernel has none)"
	}
	return ""
}

func withoutMore(x *verify.Explanation) string {
	text, _, _ := strings.Cut(x.String(), "\nmore: ")
	return text
}

func index() string {
	var b strings.Builder
	b.WriteString("<!-- go test ./internal/verifier -run ErrorPages -update -->\n# Why the verifier refuses programs\n\n" +
		"A page for each kind of refusal: what the verifier requires, how people run into it, a program and its fix.\n" +
		"`skep verify --explain` says which kind it is, and what to change: [explain.md](../explain.md).\n\n| kind | |\n|---|---|\n")
	for _, k := range explain.Kinds() {
		fmt.Fprintf(&b, "| [%s](%s.md) | %s |\n", k.ID, k.ID, k.Title)
	}
	b.WriteString("\n## By message\n\n`%d` and `%s` stand for numbers and names. Some messages are of several kinds, told apart by how it came to them.\n\n| message | kind |\n|---|---|\n")
	type row struct{ msg, id string }
	var rows []row
	for _, k := range explain.Kinds() {
		for _, r := range k.Reasons {
			if r != "%s" && ours(r) == "" {
				rows = append(rows, row{strings.ReplaceAll(r, "\n", " "), k.ID})
			}
		}
	}
	slices.SortFunc(rows, func(a, b row) int { return strings.Compare(strings.ToLower(a.msg), strings.ToLower(b.msg)) })
	for _, r := range rows {
		fmt.Fprintf(&b, "| `%s` | [%s](%s.md) |\n", strings.ReplaceAll(r.msg, "|", `\|`), r.id, r.id)
	}
	return b.String()
}

const generated = "<!-- generated from here on: go test ./internal/verifier -run ErrorPages -update -->\n"

// explainPage is docs/explain.md: its head is written by hand.
func explainPage(t *testing.T, list []*shown) string {
	old, err := os.ReadFile("../../docs/explain.md")
	if err != nil {
		t.Fatal(err)
	}
	head, _, ok := strings.Cut(string(old), generated)
	if !ok {
		t.Fatal("docs/explain.md has no line where the generated part begins")
	}
	var b strings.Builder
	b.WriteString(head + generated)
	n, kinds := 0, map[string]bool{}
	for _, p := range list {
		if p.c != "" {
			n++
		}
		kinds[p.kind] = true
	}
	fmt.Fprintf(&b, "\n## %d refused programs\n\n%d in C, the others in assembly; of %d kinds. A test holds each to its kind and, in C, to the line to\n"+
		"change, which a comment above it marks; another asks the live kernel, which refuses them in the same words.\n\n"+
		"| program | kind | change | |\n|---|---|---|---|\n", len(list), n, len(kinds))
	for _, p := range list {
		fmt.Fprintf(&b, "| [%s](#%s) | [%s](errors/%s.md) | %s | %s |\n", p.name, p.name, p.kind, p.kind, p.x.Fix.Place, cell(p.x.Fix.Text))
	}
	for _, p := range list {
		fmt.Fprintf(&b, "\n### %s\n\n```\n%s```\n", p.name, withoutMore(p.x))
	}
	return b.String()
}

func cell(s string) string { return strings.ReplaceAll(strings.ReplaceAll(s, "|", `\|`), "\n", " ") }
