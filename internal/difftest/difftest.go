package difftest

import (
	"errors"
	"strings"
	"testing"

	"github.com/skep-bpf/skep/internal/oracle"
)

// Run runs each case on every engine, as subtests CASE/ENGINE.
func Run(t *testing.T, cases []*Case) {
	for _, c := range cases {
		if c.Part {
			continue
		}
		t.Run(c.Name, func(t *testing.T) {
			for _, e := range Engines() {
				t.Run(e.Name(), func(t *testing.T) { c.Test(t, e) })
			}
		})
	}
}

// RunFiles is Run on all cases in the files that match the pattern.
func RunFiles(t *testing.T, pattern string) {
	cases, err := Load(pattern)
	if err != nil {
		t.Fatal(err)
	}
	Run(t, cases)
}

// Test runs the case on one engine.
func (c *Case) Test(t *testing.T, e Engine) {
	t.Helper()
	if e.Name() == (kernel{}).Name() && c.NotLinux != "" {
		return // the case says why
	}
	oracle.Need(t, e.Name(), e.Available())
	o, err := e.Run(c)
	if c.Refused != "" {
		if r := (*Refusal)(nil); !errors.As(err, &r) || !strings.Contains(r.Log, c.Refused) {
			t.Errorf("want a refusal that says %q, got %v", c.Refused, err)
		}
		if err == nil {
			o.Close()
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	defer o.Close()
	if err := c.Check(o); err != nil {
		t.Error(err)
	}
}
