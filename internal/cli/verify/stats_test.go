package verify

import (
	"bytes"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/skep-bpf/skep/internal/cli/ui"
)

var sample = []figures{
	{Object: "a.o", Program: "parse_eth", Type: "xdp", Verdict: "accepted", Insns: 10, Processed: 30, Total: 2, Peak: 1, MaxStates: 1, Stack: 8, Usec: 5},
	{Object: "a.o", Program: "parse_ip", Type: "xdp", Verdict: "refused", Insns: 20, Processed: 10, Usec: 7},
	{Object: "b.o", Program: "count, all", Type: "sched_cls", Verdict: "accepted", Insns: 5, Processed: 30, Total: 9},
}

func names(rows []figures) string {
	var list []string
	for _, f := range rows {
		list = append(list, f.Program)
	}
	return strings.Join(list, "|")
}

func TestSort(t *testing.T) {
	for by, want := range map[string]string{
		"processed":         "parse_eth|count, all|parse_ip",
		"processed^":        "parse_ip|parse_eth|count, all",
		"processed,insns^":  "count, all|parse_eth|parse_ip",
		"program":           "count, all|parse_eth|parse_ip",
		"programv":          "parse_ip|parse_eth|count, all",
		"objectv,insnsv":    "count, all|parse_ip|parse_eth",
		"total":             "count, all|parse_eth|parse_ip",
		"verdictv,program^": "parse_ip|count, all|parse_eth",
	} {
		rows := append([]figures(nil), sample...)
		if err := sortRows(rows, by); err != nil || names(rows) != want {
			t.Errorf("%s: %s, %v, want %s", by, names(rows), err, want)
		}
	}
	for _, by := range []string{"", "x", "p", "processed,", "^"} {
		if err := sortRows(nil, by); err == nil {
			t.Errorf("%q sorts", by)
		}
	}
}

func TestFilter(t *testing.T) {
	for _, c := range []struct {
		filters string
		want    string
	}{
		{"parse_*", "parse_eth|parse_ip"},
		{"!parse_*", "count, all"},
		{"parse_* !*_ip", "parse_eth"},
		{"parse_eth count*", "parse_eth|count, all"},
		{"processed=30", "parse_eth|count, all"},
		{"processed==30 insns<10", "count, all"},
		{"processed!=30", "parse_ip"},
		{"insns>=10 insns<=10", "parse_eth"},
		{"insns>10", "parse_ip"},
		{"type=xdp verdict!=refused", "parse_eth"},
	} {
		f, err := parseFilter(strings.Fields(c.filters))
		got := f.rows(append([]figures(nil), sample...))
		if err != nil || names(got) != c.want {
			t.Errorf("%s: %s, %v, want %s", c.filters, names(got), err, c.want)
		}
	}
	for _, bad := range []string{"", "!", "[", "processed>", "nosuch=1", "type>xdp", "=5", "processed><5"} {
		if _, err := parseFilter([]string{bad}); err == nil {
			t.Errorf("%q filters", bad)
		}
	}
}

func TestCSV(t *testing.T) {
	var text bytes.Buffer
	if err := writeCSV(&text, sample); err != nil {
		t.Fatal(err)
	}
	got, err := readCSV(&text)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(sample, got, cmp.AllowUnexported(figures{}), cmpopts.IgnoreFields(figures{}, "p")); d != "" {
		t.Error(d)
	}
	for _, bad := range []string{"", "program\n", "program,verdict,processed\na,accepted\n", "program,verdict,processed\na,b,-1\n", "\"", "program,verdict,processed\n\"a\n"} {
		if rows, err := readCSV(strings.NewReader(bad)); err == nil {
			t.Errorf("%q: %v", bad, rows)
		}
	}
}

func TestWorse(t *testing.T) {
	ok := func(n int) *figures { return &figures{Verdict: "accepted", Processed: n} }
	refused := &figures{Verdict: "refused", Processed: 1}
	for _, c := range []struct {
		before, after *figures
		worse         bool
	}{
		{ok(100), ok(110), false}, {ok(100), ok(111), true}, {ok(100), ok(1), false}, {nil, ok(1000), false},
		{ok(1), refused, true}, {nil, refused, true}, {refused, refused, false}, {refused, ok(1000), false}, {ok(0), ok(1), true},
	} {
		if got := worse(c.before, c.after, 10); (got != "") != c.worse {
			t.Errorf("%+v, %+v: %q", c.before, c.after, got)
		}
	}
	if growth(4, 5) != "+25.0%" || growth(4, 3) != "-25.0%" || growth(0, 0) != "0.0%" {
		t.Error(growth(4, 5), growth(4, 3), growth(0, 0))
	}
}

func FuzzCSV(f *testing.F) {
	f.Add("program,verdict,processed\na,accepted,5\n")
	f.Add("object,program,type,verdict,insns,processed\n\"a,b\",c,xdp,refused,1,2\n")
	f.Fuzz(func(t *testing.T, text string) {
		rows, err := readCSV(strings.NewReader(text))
		if err != nil {
			return
		}
		var out bytes.Buffer
		if err := writeCSV(&out, rows); err != nil {
			t.Fatal(err)
		}
		again, err := readCSV(&out)
		if err != nil || len(again) != len(rows) {
			t.Fatalf("%d rows, then %d, %v", len(rows), len(again), err)
		}
		for _, c := range pair(rows, again, 10) {
			if c.after == nil && c.before == nil {
				t.Fatal("a change of nothing")
			}
		}
		var screen bytes.Buffer
		if err := printChanges(ui.New(strings.NewReader(""), &screen, &screen), pair(rows, again, 10)); err != nil {
			t.Fatal(err)
		}
	})
}

func FuzzFilter(f *testing.F) {
	for _, s := range []string{"parse_*", "!x", "processed>=5", "type!=xdp", "["} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		conds, err := parseFilter([]string{text})
		conds.rows(append([]figures(nil), sample...))
		if err != nil && ui.Report(&bytes.Buffer{}, "", err) != ui.ExitUsage {
			t.Errorf("%q: %v is not of the command line", text, err)
		}
	})
}
