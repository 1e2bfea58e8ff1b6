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
	g := generator{rand.New(rand.NewPCG(*paritySeed, 2))}
	var all []LinkType
	for i := range links {
		if links[i].offsets != nil {
			all = append(all, LinkType(i))
		}
	}
	all = append(all, 249, 267)
	type tally struct{ same, refused, differ, words int }
	tallies := map[LinkType]*tally{}
	shown := 0
	for range *parityN {
		q := question{link: Ethernet, snaplen: 262144}
		if g.chance(50) {
			q.link = all[g.IntN(len(all))]
		}
		if *parityLink >= 0 {
			q.link = LinkType(*parityLink)
		}
		q.opts.NoOptimize = g.chance(35)
		q.opts.Netmask = 0xffffff00
		q.expr = g.expr(1 + g.IntN(5))
		if g.chance(5) {
			q.expr = g.garble(q.expr)
		}
		if strings.ContainsAny(q.expr, "\n\x00") {
			continue
		}
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
