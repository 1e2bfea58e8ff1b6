package difftest

import (
	"errors"
	"strings"
	"testing"

	"github.com/skep-bpf/skep/internal/catalog"
)

func TestParseErrors(t *testing.T) {
	for text, want := range map[string]string{
		"-- a --\n@nonsense\n":                            "no directive @nonsense",
		"-- a --\n@prog xdq\n":                            `no program type "xdq"`,
		"-- a --\n@map m\n":                               "want a name and a type",
		"-- a --\n@map m heap\n":                          `no map type "heap"`,
		"-- a --\n@map m hash size=4\n":                   `no attribute "size"`,
		"-- a --\n@map m array_of_maps inner=x\n":         `no map "x" above`,
		"-- a --\n@put m 00 = 00\n":                       `no map "m" above`,
		"-- a --\n@map m hash key=1 value=1\n@put m 00\n": "want key = value",
		"-- a --\n@packet 0\n":                            "odd length",
		"-- a --\n@packet 00*x\n":                         "invalid syntax",
		"-- a --\n@regs r11=1\n":                          `no register "r11"`,
		"-- a --\n@r0 many\n":                             "invalid syntax",
		"-- a --\n@flags 0x100000000\n":                   "does not fit",
		"-- a --\nr0 = map_idx[m] ll\nexit\n":             "m",
		"-- a --\n-- b --\nr0 = 0\nnonsense\n":            "(b, from line 3):2:",
	} {
		if _, err := Parse("x.txtar", []byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want one about %q", text, err, want)
		}
	}
}

func TestParseHex(t *testing.T) {
	got, err := parseHex("0102 ff*3 00*0 04")
	if err != nil || string(got) != "\x01\x02\xff\xff\xff\x04" {
		t.Errorf("%x, %v", got, err)
	}
}

// Each way in which a run can differ from its case is seen.
func TestCheckFindsDifferences(t *testing.T) {
	const program = "r0 = 5\nr2 = map_idx_value[m][0] ll\n*(u8 *)(r2 + 0) = 7\nexit\n"
	const m = "@map m array key=4 value=2 entries=1\n"
	for wrong, says := range map[string]string{
		"@r0 6\n":                          "R0 = 0x5, want 0x6",
		"@r0 0x100000005\n":                "R0 = 0x5, want 0x100000005",
		"@want m 00000000 = 0701\n":        "map m at 00000000: 0700",
		"@want m 01000000 = 0000\n":        "no such file or directory",
		"@gone m 00000000\n":               "want nothing there",
		"@packet 00*14\n@out 00*15\n":      "packet",
		"@wantctx rx_queue_index=1\n":      "context field rx_queue_index = 0x0",
		"@refused some reason\n":           "",
		"@r0 5\n@want m 00000000 = 0700\n": "",
	} {
		cases, err := Parse("x.txtar", []byte("-- a --\n"+m+wrong+program))
		if err != nil {
			t.Fatal(err)
		}
		o, err := ours{checked: true}.Run(cases[0])
		if err != nil {
			t.Fatal(err)
		}
		err = cases[0].Check(o)
		if says == "" && err != nil || says != "" && (err == nil || !strings.Contains(err.Error(), says)) {
			t.Errorf("%s: %v, want %q", wrong, err, says)
		}
		o.Close()
	}
}

// A per-CPU value stands for the one the run changed.
func TestPerCPUValues(t *testing.T) {
	cases, err := Parse("x.txtar", []byte(`
-- counter --
@map m percpu_array key=4 value=4 entries=1
@put m 00000000 = 05000000
@want m 00000000 = 06000000
*(u32 *)(r10 - 4) = 0
r1 = map_idx[m] ll
r2 = r10
r2 += -4
call bpf_map_lookup_elem
if r0 == 0 goto out
r1 = *(u32 *)(r0 + 0)
r1 += 1
*(u32 *)(r0 + 0) = r1
out:
r0 = 0
exit
`))
	if err != nil {
		t.Fatal(err)
	}
	Run(t, cases)
}

func TestRefusal(t *testing.T) {
	cases, err := Parse("x.txtar", []byte("-- a --\n@prog socket_filter\nr0 = r2\nexit\n"))
	if err != nil {
		t.Fatal(err)
	}
	if cases[0].Type != catalog.ProgSocketFilter {
		t.Errorf("type %v", cases[0].Type)
	}
	_, err = ours{}.Run(cases[0])
	if r := (*Refusal)(nil); !errors.As(err, &r) || !strings.Contains(r.Log, "R2 !read_ok") {
		t.Errorf("%v", err)
	}
}
