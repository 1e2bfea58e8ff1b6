package verifier_test

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"

	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/verifier"
)

// traced verifies p with a trace and a whole log.
func traced(p *verifier.Program, o verifier.Options) (*verifier.Trace, string, error) {
	res, err := verifier.Verify(p, o)
	var ve *verifier.Error
	if errors.As(err, &ve) {
		return ve.Trace, ve.Log, err
	}
	return res.Trace, res.Log, nil
}

// knowledge replays a trace: what is known before each of its steps.
type knowledge map[verifier.TracePlace]int

func (k knowledge) apply(s *verifier.TraceStep) {
	if s.Full {
		clear(k)
	}
	for _, c := range s.Changes {
		k[c.Place] = c.Text
	}
}

// line is what k says of the current frame, as the log puts it.
func (k knowledge) line(t *verifier.Trace, frame int) string {
	var places []verifier.TracePlace
	for p, text := range k {
		if p.Frame() == frame && text != 0 && p.String() != "held" {
			places = append(places, p)
		}
	}
	slices.Sort(places)
	var words []string
	if frame > 0 {
		words = append(words, fmt.Sprintf("frame%d:", frame))
	}
	for _, p := range places {
		words = append(words, p.String()+"="+t.Texts[k[p]])
	}
	return strings.Join(words, " ")
}

var (
	logInsn = regexp.MustCompile(`(?m)^(?:from \d+ to )?(\d+): (?:\([0-9a-f]{2}\)|safe$)|^from \d+ to \d+:( .*)`)
	heldEnd = regexp.MustCompile(`( refs=[\d,]+)?( cb)?( async_cb)?$`)
)

// TestTraceIsTheLog compares the steps of traces with the log of every
// instruction: their order, and what is known where the log says so in full.
func TestTraceIsTheLog(t *testing.T) {
	for _, ex := range exampleObjects(t) {
		for _, p := range ex.img.Programs {
			t.Run(p.Name, func(t *testing.T) {
				tr, log, err := traced(imageProgram(ex.img, p), verifier.Options{LogLevel: 2, Trace: 1 << 20})
				if len(tr.Steps) != tr.Processed {
					t.Fatalf("%d steps kept of %d", len(tr.Steps), tr.Processed)
				}
				steps, known, state, states := tr.Steps, knowledge{}, "", 0
				for _, m := range logInsn.FindAllStringSubmatch(log, -1) {
					if m[2] != "" {
						state = heldEnd.ReplaceAllString(strings.TrimSpace(m[2]), "")
						continue
					}
					if len(steps) == 0 {
						t.Fatalf("the log goes on after the trace: %s", m[0])
					}
					s := &steps[0]
					steps = steps[1:]
					known.apply(s)
					if slot, _ := strconv.Atoi(m[1]); slot != s.Slot {
						t.Fatalf("step %d is at %d, in the log at %d", s.N, s.Slot, slot)
					}
					if state != "" && state != known.line(tr, s.Frame) {
						t.Fatalf("before step %d:\n trace: %s\n log:   %s", s.N, known.line(tr, s.Frame), state)
					}
					if state != "" {
						states++
					}
					state = ""
				}
				if len(steps) == 1 && errors.Is(err, errno.EINVAL) {
					steps = nil // an endless loop is noticed before its last instruction is shown
				}
				if len(steps) != 0 {
					t.Errorf("%d steps are not in the log", len(steps))
				}
				t.Logf("%d steps, %d states compared", tr.Processed, states)
			})
		}
	}
}

// TestTracePaths looks at the tree of paths of small programs.
func TestTracePaths(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"a branch", "r0 = *(u32 *)(r1 + 0)\nif r0 > 3 goto out\nr0 = 1\nout:\nr0 = 2\nexit\n",
			"root 0-5 exit, from 1: 5-6 pruned by 3"},
		{"a loop", "r0 = 0\nagain:\nr0 += 1\nif r0 < 3 goto again\nexit\n", "root 0-8 exit"},
		{"an endless loop", "again:\ngoto again\n", "root 0-2 refused"},
		{"pruned", "prog: sched_cls\n\nr6 = *(u32 *)(r1 + 0)\nr7 = *(u32 *)(r1 + 8)\nr0 = 0\nif r6 > 3 goto +1\nr0 = 0\nif r7 > 3 goto +1\nr0 = 0\nr6 = 0\nr7 = 0\nr0 = 0\nexit\n",
			"root 0-11 exit, from 5: 11-12 pruned by 7, from 3: 12-13 pruned by 5"},
		{"the second path fails", "r0 = *(u32 *)(r1 + 0)\nif r0 > 3 goto bad\nr0 = 1\nexit\nbad:\nr0 = r9\nexit\n",
			"root 0-4 exit, from 1: 4-5 refused"},
	} {
		t.Run(c.name, func(t *testing.T) {
			tc := parseCase(t, txtar.File{Name: c.name, Data: []byte(c.text)})
			tc.prog.Flags |= 1 << 3 // BPF_F_TEST_STATE_FREQ: a state at every jump
			tr, _, _ := traced(&tc.prog, verifier.Options{Trace: 100})
			var got []string
			exits, pruned := 0, 0
			for _, p := range tr.Paths {
				s := "root"
				if p.Parent >= 0 {
					s = fmt.Sprintf("from %d:", p.Fork)
				}
				s += fmt.Sprintf(" %d-%d %s", p.First, p.End, p.How)
				switch p.How {
				case verifier.TraceExit:
					exits++
				case verifier.TracePruned:
					s += fmt.Sprintf(" by %d", p.By)
					pruned++
				}
				got = append(got, s)
			}
			if s := strings.Join(got, ", "); s != c.want {
				t.Errorf("got  %s\nwant %s", s, c.want)
			}
			if exits != tr.Exits || pruned != tr.Pruned {
				t.Errorf("%d exits and %d pruned, counted %d and %d", exits, pruned, tr.Exits, tr.Pruned)
			}
		})
	}
}

// TestTraceLimit cuts long explorations: the counts stay exact, each slot
// reached keeps a step, and so does the end of the last path.
func TestTraceLimit(t *testing.T) {
	for _, ex := range exampleObjects(t) {
		for _, p := range ex.img.Programs {
			vp := imageProgram(ex.img, p)
			all, _, err := traced(vp, verifier.Options{Trace: 1 << 20})
			limit := 40
			if all.Processed <= limit {
				continue
			}
			t.Run(p.Name, func(t *testing.T) {
				tr, _, err2 := traced(vp, verifier.Options{Trace: limit})
				if (err == nil) != (err2 == nil) {
					t.Fatalf("refused %v, with a limit %v", err, err2)
				}
				if len(tr.Steps) > limit+len(p.Insns) || len(tr.Steps) < limit/2 {
					t.Errorf("%d steps kept, limit %d", len(tr.Steps), limit)
				}
				if tr.Processed != all.Processed || tr.Exits != all.Exits || tr.Pruned != all.Pruned ||
					!slices.Equal(tr.PrunedAt, all.PrunedAt) || !slices.Equal(tr.Remembered, all.Remembered) ||
					!slices.Equal(tr.Taken, all.Taken) || !slices.Equal(tr.Fell, all.Fell) {
					t.Error("the counts differ")
				}
				seen := map[int]bool{}
				known, full := knowledge{}, knowledge{}
				rest := all.Steps
				for i := range tr.Steps {
					s := &tr.Steps[i]
					seen[s.Slot] = true
					known.apply(s)
					for {
						full.apply(&rest[0])
						if rest = rest[1:]; all.Steps[len(all.Steps)-len(rest)-1].N == s.N {
							break
						}
					}
					if a, b := known.line(tr, s.Frame), full.line(all, s.Frame); a != b {
						t.Fatalf("step %d: %s\nin the whole trace %s", s.N, a, b)
					}
				}
				for _, s := range all.Steps {
					if !seen[s.Slot] {
						t.Errorf("no step at %d", s.Slot)
						seen[s.Slot] = true
					}
				}
				if last := tr.Steps[len(tr.Steps)-1]; last.N != all.Processed-1 {
					t.Errorf("the last step kept is %d of %d", last.N, all.Processed)
				}
				for i, p := range tr.Paths {
					if p.Parent >= i {
						t.Errorf("path %d comes before its parent %d", i, p.Parent)
					}
				}
			})
		}
	}
}
