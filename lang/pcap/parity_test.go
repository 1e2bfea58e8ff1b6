package pcap

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"sort"
	"strings"
	"testing"
)

var (
	parityN    = flag.Int("parity.n", 2000, "how many random expressions to compare with libpcap")
	paritySeed = flag.Uint64("parity.seed", 1, "seed of the random expressions")
	parityLink = flag.Int("parity.link", -1, "compare on this link type only")
	parityAll  = flag.Bool("parity.v", false, "print all differences")
)

// TestRandomParity compares the code of random expressions with libpcap's.
func TestRandomParity(t *testing.T) {
	l := newLibpcap(t)
	g := generator{Rand: rand.New(rand.NewPCG(*paritySeed, 2))}
	all := comparedLinks()
	if *parityLink >= 0 {
		all = []LinkType{LinkType(*parityLink)}
	}
	type tally struct{ same, refused, differ, words int }
	tallies := map[LinkType]*tally{}
	shown := 0
	for range *parityN {
		q := g.question(all)
		want, got := l.ask(t, q), q.ours()
		tl := tallies[q.link]
		if tl == nil {
			tl = new(tally)
			tallies[q.link] = tl
		}
		switch {
		case want == got && want[0] == '+':
			tl.same++
		case want[0] == '!':
			continue // libpcap aborts
		case want[0] == '-' && got[0] == '-':
			tl.refused++
			if want != got && !strings.Contains(want, "syntax error") {
				tl.words++
				if *parityAll {
					t.Logf("%s: %q\n libpcap %s\n ours    %s", q.link, q.expr, want, got)
				}
			}
		default:
			tl.differ++
			if shown++; shown <= 20 || *parityAll {
				t.Errorf("%s optimise=%v: %q\n libpcap %s\n ours    %s", q.link, !q.opts.NoOptimize, q.expr, want, got)
			}
		}
	}
	var names []string
	sum := tally{}
	for link, tl := range tallies {
		names = append(names, fmt.Sprintf("%-26s same %6d  both refuse %6d (other words %4d)  differ %d", link, tl.same, tl.refused, tl.words, tl.differ))
		sum.same += tl.same
		sum.refused += tl.refused
		sum.words += tl.words
		sum.differ += tl.differ
	}
	sort.Strings(names)
	t.Logf("seed %d\n%s\nall: %+v", *paritySeed, strings.Join(names, "\n"), sum)
}
