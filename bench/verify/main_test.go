package main

import (
	"strings"
	"testing"
	"time"

	"github.com/skep-bpf/skep/internal/linux"
)

func TestExamples(t *testing.T) {
	if err := linux.Available(); err != nil {
		t.Skip(err)
	}
	var b strings.Builder
	if err := run(&b, "../../examples", 1, true, "^(firewall|refused)/"); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"| firewall ", "| refused ", "| all ", "| firewall/firewall/"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in:\n%s", want, b.String())
		}
	}
}

func TestNoObjects(t *testing.T) {
	if err := linux.Available(); err != nil {
		t.Skip(err)
	}
	if err := run(&strings.Builder{}, t.TempDir(), 1, false, ""); err == nil || !strings.Contains(err.Error(), "SET/OBJECT.o") {
		t.Errorf("error %v", err)
	}
}

func TestVerificationTime(t *testing.T) {
	d, err := verificationTime("verification time 17 usec\nstack depth 0\n")
	if err != nil || d != 17*time.Microsecond {
		t.Errorf("%v, %v", d, err)
	}
	if _, err := verificationTime("0: exit\n"); err == nil {
		t.Error("time found in a log without one")
	}
}
