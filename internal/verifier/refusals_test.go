package verifier_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/skep-bpf/skep/internal/explain"
	"github.com/skep-bpf/skep/internal/verifier"
)

// TestRefusalsHaveKinds: every refusal in this package's source is of exactly one kind that
// package explain describes, and no kind has a message that nothing refuses with.
func TestRefusalsHaveKinds(t *testing.T) {
	said := map[string]string{} // message → where
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		fset := token.NewFileSet()
		f, err := parser.ParseFile(fset, name, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(f, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			sel, ok := call.Fun.(*ast.SelectorExpr)
			if !ok || sel.Sel.Name != "refuse" && sel.Sel.Name != "silent" {
				return true
			}
			at := fset.Position(call.Pos()).String()
			lit, ok := call.Args[1].(*ast.BasicLit)
			if !ok {
				if sum, isSum := call.Args[1].(*ast.BinaryExpr); !isSum || name != "error.go" {
					t.Errorf("%s: the message must be a literal, not %T", at, sum)
				}
				return true
			}
			msg, err := strconv.Unquote(lit.Value)
			if err != nil {
				t.Fatal(err)
			}
			said[msg] = at
			if explain.KindOf(&verifier.Error{Reason: msg}) == nil {
				t.Errorf("%s: %q is of no kind: give it its place in internal/explain/kinds_*.go", at, msg)
			}
			return true
		})
	}
	seen := map[string]string{}
	ids := map[string]bool{}
	for _, k := range explain.Kinds() {
		if ids[k.ID] {
			t.Errorf("two kinds are named %s", k.ID)
		}
		ids[k.ID] = true
		if k.Title == "" || k.Requires == "" || k.How == "" || k.Fix == "" {
			t.Errorf("%s: an empty text", k.ID)
		}
		for _, r := range k.Reasons {
			if said[r] == "" {
				t.Errorf("%s: nothing is refused with %q", k.ID, r)
			}
			if seen[r] != "" {
				t.Errorf("%q is of two kinds: %s and %s", r, seen[r], k.ID)
			}
			seen[r] = k.ID
		}
	}
}
