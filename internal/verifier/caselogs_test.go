package verifier_test

import (
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"

	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/linux"
	"github.com/skep-bpf/skep/internal/oracle"
	"github.com/skep-bpf/skep/internal/verifier"
)

// logsDiffer are the cases whose logs are not the kernel's, by file, name and
// level, with why.
var logsDiffer = map[string]string{
	"calls/for_each_map_elem/6":       nullIsPrecise,
	"calls/for_each writes the key/6": nullIsPrecise,
	"errors/kptr-type fixed/6":        nullIsPrecise,
	"errors/rcu-required fixed/6":     nullIsPrecise,
	"kptr/store zero/6":               nullIsPrecise,
	"kptr/exchange for nothing/6":     nullIsPrecise,
	"helpers/tail call into a hash/1": noNewline,
	"helpers/tail call into a hash/6": noNewline,
}

// Why logs differ. The first moves what is known behind the lines in between.
const (
	nullIsPrecise = "that a pointer is NULL is traced back as precise, which 6.18 forgets and 7.2 does"
	noNewline     = "the kernel's message does not end its line"
)

// TestCaseLogs compares the logs of all cases with the live kernel's: what level
// 1 shows, levels 2 and 4 together, and of every tenth case level 4 alone. How
// precision is traced back is left to TestLogs.
func TestCaseLogs(t *testing.T) {
	oracle.Need(t, "bpf(2)", linux.Available())
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no cases: %v", err)
	}
	same, n := 0, 0
	for _, file := range files {
		ar, err := txtar.ParseFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range ar.Files {
			c := parseCase(t, f)
			levels := []uint32{1, 2 | 4, 4}
			if n++; n%10 != 0 {
				levels = levels[:2]
			}
			if c.no == "E2BIG" { // a million instructions
				levels = []uint32{4}
			}
			for _, level := range levels {
				name := fmt.Sprintf("%s/%s/%d", strings.TrimSuffix(filepath.Base(file), ".txtar"), f.Name, level)
				t.Run(name, func(t *testing.T) {
					klog, ok := kernelLog(t, c, level)
					if !ok || c.differs {
						return
					}
					opts := c.options()
					opts.LogLevel, opts.CPUs = level, cpus(t)
					got, want := caseLog(logOf(verifier.Verify(&c.prog, opts))), caseLog(klog)
					if why, known := logsDiffer[name]; known {
						if slices.Equal(got, want) {
							t.Errorf("is the kernel's after all (%s)", why)
						}
						return
					}
					compareLogs(t, got, want)
					same++
				})
			}
		}
	}
	t.Logf("%d logs are the kernel's, %d known to differ", same, len(logsDiffer))
}

var took = regexp.MustCompile(`verification time \d+ usec`)

// caseLog is a log without addresses, times and traces of precision.
func caseLog(log string) []string {
	lines := normalLog(took.ReplaceAllString(log, "verification time"))
	return slices.DeleteFunc(lines, func(l string) bool { return tracing.MatchString(l) })
}

// logOf is the log of a verification, whatever its verdict.
func logOf(res *verifier.Result, err error) string {
	var ve *verifier.Error
	if errors.As(err, &ve) {
		return ve.Log
	}
	return res.Log
}

// kernelLog is the live kernel's log; ok is false if it does not look at such programs here.
func kernelLog(t *testing.T, c *testCase, level uint32) (log string, ok bool) {
	lp, err := loadKernel(t, c, level)
	if err == nil {
		defer lp.Close()
		return lp.Log, true
	}
	var ke *linux.Error
	if !errors.As(err, &ke) {
		t.Fatal(err)
	}
	return ke.Log, c.prog.AttachTo == "" || ke.Errno != errno.EPERM
}
