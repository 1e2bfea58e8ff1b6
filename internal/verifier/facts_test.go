package verifier_test

import (
	"testing"

	"github.com/rogpeppe/go-internal/txtar"

	"github.com/skep-bpf/skep/internal/verifier"
)

// TestTripBound looks at how often loops are known to turn.
func TestTripBound(t *testing.T) {
	for _, c := range []struct {
		name, text string
		slot       int
		want       uint32
	}{
		{"ten turns", "r0 = 0\nagain:\nr0 += 1\nif r0 < 10 goto again\nexit\n", 2, 9},
		{"a number of turns below eight", "prog: sched_cls\n\nr2 = *(u32 *)(r1 + 0)\nr2 &= 7\nr0 = 0\nagain:\nr0 += 1\nif r0 < r2 goto again\nr0 = 0\nexit\n", 4, 6},
		{"inside another", "r6 = 0\nouter:\nr0 = 0\ninner:\nr0 += 1\nif r0 < 3 goto inner\nr6 += 1\nif r6 < 4 goto outer\nexit\n", 3, 8},
		{"outside another", "r6 = 0\nouter:\nr0 = 0\ninner:\nr0 += 1\nif r0 < 3 goto inner\nr6 += 1\nif r6 < 4 goto outer\nexit\n", 5, 3},
		{"in a function called twice", "call f\ncall f\nexit\nf:\nr0 = 0\nagain:\nr0 += 1\nif r0 < 5 goto again\nexit\n", 5, 8},
		{"an iterator's", "prog: sched_cls\n\nr1 = r10\nr1 += -8\nr2 = 0\nr3 = 10\ncall bpf_iter_num_new\nagain:\nr1 = r10\nr1 += -8\ncall bpf_iter_num_next\nif r0 == 0 goto over\ngoto again\nover:\nr1 = r10\nr1 += -8\ncall bpf_iter_num_destroy\nr0 = 0\nexit\n", 9, 0},
		{"in a callback", "prog: sched_cls\nfunc main: global (skb)\nfunc cb: static (int, void)\n\nmain:\nr1 = 10\nr2 = func[cb] ll\nr3 = 0\nr4 = 0\ncall bpf_loop\nr0 = 0\nexit\ncb:\nr0 = 0\nagain:\nr0 += 1\nif r0 < 5 goto again\nr0 = 0\nexit\n", 10, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			tc := parseCase(t, txtar.File{Name: c.name, Data: []byte(c.text)})
			res, err := verifier.Verify(&tc.prog, verifier.Options{})
			if err != nil {
				t.Fatal(err)
			}
			got := res.Insns[c.slot].TripBound
			if c.want == 0 && got != 0 || got < c.want || got > 2*c.want {
				t.Errorf("slot %d (%v): at most %d turns, want %d", c.slot, tc.prog.Insns[c.slot], got, c.want)
			}
		})
	}
}
