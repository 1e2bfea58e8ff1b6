package verifier_test

import (
	"path/filepath"
	"reflect"
	"sync"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"

	"github.com/skep-bpf/skep/internal/verifier"
)

// answer is all that a verification gives.
type answer struct {
	res     *verifier.Result
	err     error
	history *verifier.History
}

func answerTo(p *verifier.Program, o verifier.Options) answer {
	var a answer
	o.LogLevel, o.Trace, o.Visits, o.States = 2, 50, true, true
	a.res, a.err = verifier.Verify(p, o)
	a.history = verifier.HistoryOf(p, o)
	return a
}

// Verifications use memory one after the other: what one gave stays as it is
// whatever others do, at the same time or later.
func TestWorkspaces(t *testing.T) {
	files, err := filepath.Glob("testdata/[abcdk]*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no cases: %v", err)
	}
	var cases []*testCase
	for _, file := range files {
		ar, err := txtar.ParseFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for i, f := range ar.Files {
			if i%4 == 0 {
				cases = append(cases, parseCase(t, f))
			}
		}
	}
	first := make([]answer, len(cases))
	for i, c := range cases {
		first[i] = answerTo(&c.prog, c.options())
	}
	const workers = 4
	again := [workers][]answer{}
	var wg sync.WaitGroup
	for w := range workers {
		again[w] = make([]answer, len(cases))
		wg.Go(func() {
			for k := range cases {
				i := (k*(2*w+1) + w*7) % len(cases)
				again[w][i] = answerTo(&cases[i].prog, cases[i].options())
			}
		})
	}
	wg.Wait()
	for i, c := range cases {
		for w := range workers {
			if a := again[w][i]; a.res != nil || a.err != nil {
				if !reflect.DeepEqual(a.res, first[i].res) || !reflect.DeepEqual(a.err, first[i].err) || !reflect.DeepEqual(a.history, first[i].history) {
					t.Errorf("%s: worker %d got something else", c.name, w)
				}
			}
		}
	}
}
