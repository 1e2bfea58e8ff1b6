package main

import (
	"os"
	"strings"
	"testing"
	"time"
)

func TestRun(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("the kernel's part needs root")
	}
	var b strings.Builder
	if err := run(&b, "../../examples/xsk_forward/xsk_forward.o", 64, 1, time.Millisecond); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"skep, copy", "skep, zero copy", "Linux, veth"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in:\n%s", want, b.String())
		}
	}
	if err := run(&b, "nowhere.o", 64, 1, time.Millisecond); err == nil {
		t.Error("an object that is not there")
	}
	if err := run(&b, "nowhere.o", 6, 1, time.Millisecond); err == nil || !strings.Contains(err.Error(), "60 to 1500") {
		t.Error(err)
	}
}
