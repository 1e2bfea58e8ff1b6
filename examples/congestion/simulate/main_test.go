package main

import (
	"bytes"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/cilium/ebpf/btf"
	"github.com/google/go-cmp/cmp"

	"github.com/skep-bpf/skep/internal/oracle"
)

// shown is a command of the README and what it prints.
var shown = regexp.MustCompile("(?s)    go run \\S+ (\\S+) (\\S+) '([^']*)'\n\n```\n(.*?)```")

func TestREADME(t *testing.T) {
	_, err := btf.LoadKernelSpec()
	oracle.Need(t, "the kernel's types", err)
	text, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	all := shown.FindAllStringSubmatch(string(text), -1)
	if len(all) != 2 {
		t.Fatalf("%d commands, want 2", len(all))
	}
	for _, c := range all {
		var out bytes.Buffer
		if err := simulate(&out, "../congestion.o", c[2], c[3]); err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(c[4], out.String()); d != "" {
			t.Errorf("%s: README − and output +:\n%s", c[2], d)
		}
	}
}

func TestBadInput(t *testing.T) {
	_, err := btf.LoadKernelSpec()
	oracle.Need(t, "the kernel's types", err)
	for want, args := range map[string][3]string{
		"nothing.o":                    {"nothing.o", "aimd", "ack"},
		"no congestion control nobody": {"../congestion.o", "nobody", "ack"},
		"not struct_ops":               {"../congestion.o", ".bss", "ack"},
		"jump: no such event":          {"../congestion.o", "aimd", "jump"},
		"ack*many: not a number":       {"../congestion.o", "aimd", "ack*many"},
	} {
		err := simulate(&bytes.Buffer{}, args[0], args[1], args[2])
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: %v; want %q", args, err, want)
		}
	}
}
