package main

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/skep-bpf/skep/internal/corpus"
)

const head = "tree\tobject\tprogram\tmode\tbest_verdict\tbest_errno\tbest_insn_processed\tbest_load_us\n"

func TestParseTable(t *testing.T) {
	rows, err := parseTable(strings.NewReader(head +
		"v3\tverifier_a\tf\tpriv\taccept\t\t12\t3.5\n" +
		"v3\tb\tg\tpriv\treject\tEINVAL\t\t\n" +
		"v3\tb\th\tpriv\tnone\tESRCH\t\t\n" + // never came to the verifier
		"v3\tb\tfentry\tpriv\treject\tEPERM\t\t\n"))
	if err != nil {
		t.Fatal(err)
	}
	want := []row{
		{tree: "v3", object: "verifier_a", program: "f", mode: "priv", accept: true, insns: 12, loadUS: 3.5},
		{tree: "v3", object: "b", program: "g", mode: "priv", errno: "EINVAL"},
	}
	if !reflect.DeepEqual(rows, want) {
		t.Errorf("rows %+v, want %+v", rows, want)
	}
	for _, bad := range []string{"", "tree\tobject\n", head + "v3\tb\n"} {
		if _, err := parseTable(strings.NewReader(bad)); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}

func TestAnnotations(t *testing.T) {
	o := newAnnotations()
	o.annotate("f", []string{"comment:test_prog_flags=BPF_F_STRICT_ALIGNMENT", "comment:12:test_prog_flags=!BPF_F_TEST_RND_HI32",
		"comment:test_expect_msg=3=R1 is = to R2", "comment:test_expect_failure"})
	if got := o.flags["f"]; got != 1|1<<7 {
		t.Errorf("flags %#x", got)
	}
	if got := o.messages["f"]; len(got) != 1 || got[0] != "R1 is = to R2" {
		t.Errorf("messages %q", got)
	}
}

func TestReport(t *testing.T) {
	findings := []finding{
		{row: row{tree: "v3", object: "verifier_a", program: "same", mode: "priv", accept: true, insns: 10, loadUS: 2},
			ours: corpus.Answer{Accept: true, Insns: 20}, took: time.Microsecond},
		{row: row{tree: "v3", object: "verifier_a", program: "unsound", mode: "priv", errno: "EACCES"}, ours: corpus.Answer{Accept: true}},
		{row: row{tree: "v3", object: "b", program: "incomplete", mode: "priv", accept: true}, ours: corpus.Answer{Errno: "EINVAL", Msg: "R7 is odd"}},
		{row: row{tree: "v3", object: "b", program: "errno", mode: "priv", errno: "EACCES"}, ours: corpus.Answer{Errno: "EINVAL", Msg: "R1 bad"},
			live: &corpus.Answer{Errno: "EACCES", Msg: "R2 worse", Log: "0: r0 = 0\nR2 worse\n"}},
	}
	var b strings.Builder
	report(&b, findings, map[string]int{"nothing there": 3})
	for _, want := range []string{
		"2/4 50.00 %", "accepted here, refused by the kernel: 1", "EACCES", "unsound", "EINVAL N is odd",
		"kernel: EACCES N worse", "20 against 10", "3  nothing there",
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in:\n%s", want, b.String())
		}
	}
}
