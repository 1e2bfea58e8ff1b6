package errno

import (
	"go/ast"
	"go/parser"
	"go/token"
	"strconv"
	"testing"
)

// constants reads the declared numbers from the source.
func constants(t *testing.T) map[string]Errno {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), "errno.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]Errno{}
	ast.Inspect(f, func(n ast.Node) bool {
		if v, ok := n.(*ast.ValueSpec); ok && len(v.Values) == 1 {
			if lit, ok := v.Values[0].(*ast.BasicLit); ok {
				num, err := strconv.Atoi(lit.Value)
				if err != nil {
					t.Fatal(err)
				}
				out[v.Names[0].Name] = Errno(num)
			}
		}
		return true
	})
	return out
}

// TestWords: every number has its own name and words, and there are no others.
func TestWords(t *testing.T) {
	all := constants(t)
	for name, e := range all {
		if e.Name() != name || e.Error() == "" {
			t.Errorf("%s is %s, %q", name, e.Name(), e.Error())
		}
	}
	if len(words) != len(all) {
		t.Errorf("words for %d numbers, %d are declared", len(words), len(all))
	}
}

func TestUnknown(t *testing.T) {
	if e := Errno(4000); e.Name() != "4000" || e.Error() != "errno 4000" {
		t.Errorf("%s, %q", e.Name(), e.Error())
	}
}

// TestRet: helpers return 64 bits, sign-extended.
func TestRet(t *testing.T) {
	if got := EINVAL.Ret(); got != 0xffff_ffff_ffff_ffea {
		t.Errorf("%#x", got)
	}
}
