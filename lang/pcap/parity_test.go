package pcap

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"sort"
	"strconv"
	"strings"
	"testing"

	"github.com/skep-bpf/skep/internal/oracle"
)

var (
	update     = flag.Bool("update", false, "write the golden files anew")
	parityN    = flag.Int("parity.n", 2000, "how many random expressions to compare with libpcap")
	paritySeed = flag.Uint64("parity.seed", 1, "seed of the random expressions")
	parityLink = flag.Int("parity.link", -1, "compare on this link type only")
	parityAll  = flag.Bool("parity.v", false, "print all differences")
)

// TestParity compares with what libpcap 1.10.3 has made of a sample, without
// libpcap; -update makes the sample anew, with it.
func TestParity(t *testing.T) {
	const file = "testdata/parity.txt.gz"
	if *update {
		writeSample(t, file)
	}
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	s := bufio.NewScanner(z)
	s.Buffer(nil, 1<<20)
	for s.Scan() {
		// Link type, whether to optimise, expression, answer.
		f := strings.SplitN(s.Text(), "\t", 4)
		link, err := strconv.Atoi(f[0])
		if err != nil || len(f) != 4 {
			t.Fatalf("line %d: %q", n+1, s.Text())
		}
		q := query{f[2], LinkType(link), 262144, Options{NoOptimize: f[1] == "0", Netmask: 0xffffff00}}
		if got := q.ours(); got != f[3] && got[:1]+f[3][:1] != "--" {
			t.Errorf("%s optimise=%s: %q\n libpcap %s\n ours    %s", q.link, f[1], q.expr, f[3], got)
		}
		n++
	}
	if err := s.Err(); err != nil || n < 2000 {
		t.Errorf("%d expressions, %v", n, err)
	}
}

// misledByTag reports whether two programs differ only in where the jump before
// the load of the VLAN tag goes. Of a block from which the optimiser has removed
// statements, libpcap counts them still, and the jump misses.
func misledByTag(a, b string) bool {
	x, y := strings.Fields(a), strings.Fields(b)
	if len(x) != len(y) {
		return false
	}
	const tag = "30 0 0 fffff02c"
	for i := range x {
		if x[i] == y[i] {
			continue
		}
		insn := i - (i-1)%4 // of code jt jf k, behind the sign
		if i == insn || i == insn+3 || insn+8 > len(x) || strings.Join(x[insn+4:insn+8], " ") != tag {
			return false
		}
	}
	return true
}

// writeSample writes random expressions, and the common ones of people, with
// libpcap's code for them.
func writeSample(t *testing.T, file string) {
	l := newLibpcap(t)
	var b bytes.Buffer
	z, _ := gzip.NewWriterLevel(&b, gzip.BestCompression)
	write := func(q query) bool {
		a := l.ask(t, q)
		if len(a) > 2500 || a[0] == '!' {
			return false
		}
		fmt.Fprintf(z, "%d\t%d\t%s\t%s\n", int(q.link), b2i(!q.opts.NoOptimize), q.expr, a)
		return a[0] == '+'
	}
	for _, e := range everyday {
		for _, raw := range []bool{false, true} {
			write(query{e, Ethernet, 262144, Options{NoOptimize: raw, Netmask: 0xffffff00}})
		}
	}
	for _, c := range corners {
		for _, raw := range []bool{false, true} {
			write(query{c.expr, c.link, 262144, Options{NoOptimize: raw, Netmask: 0xffffff00}})
		}
	}
	g := generator{Rand: rand.New(rand.NewPCG(1993, 1))}
	for n := 0; n < 1900; {
		q := g.query(comparedLinks())
		if strings.Contains(q.expr, "\t") || strings.Contains(q.expr, "localhost") || strings.Contains(q.expr, "loopback") {
			continue // what names mean is the system's affair
		}
		if write(q) {
			n++
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, b.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
}

// TestCornerParity compares what random expressions seldom reach.
func TestCornerParity(t *testing.T) {
	l := newLibpcap(t)
	for _, c := range corners {
		for _, raw := range []bool{false, true} {
			q := query{c.expr, c.link, 262144, Options{NoOptimize: raw, Netmask: 0xffffff00}}
			if want, got := l.ask(t, q), q.ours(); want != got {
				t.Errorf("%s optimise=%v: %q\n libpcap %s\n ours    %s", q.link, !raw, q.expr, want, got)
			}
		}
	}
}

// TestSourceParity compares where the source of the packets matters: a file,
// one of the other byte order, a live interface.
func TestSourceParity(t *testing.T) {
	l := newLibpcap(t)
	sources := []struct {
		name   string
		source Source
		links  []LinkType
	}{
		{"file", File, []LinkType{Null, Ethernet, Enc, Loop, LinuxSLL, IEEE80211}},
		{"swapped file", SwappedFile, []LinkType{Null, Enc, Loop}},
		{"live", Live, []LinkType{Ethernet, LinuxSLL}},
	}
	g := generator{Rand: rand.New(rand.NewPCG(*paritySeed, 3))}
	special := []string{"vlan", "vlan 5 and ip", "vlan 7 and tcp port 80 and host 10.0.0.1", "vlan and vlan 3 and ip6",
		"not vlan and udp", "inbound", "outbound and ip", "ifindex 2", "ip6 and tcp", "ip6 host ::1", "ip", "vlan or ip"}
	for _, src := range sources {
		t.Run(src.name, func(t *testing.T) {
			for _, link := range src.links {
				same := 0
				for i := range 400 {
					q := query{link: link, snaplen: 65535, opts: Options{Source: src.source, NoOptimize: i%3 == 0}}
					if g.link, g.sober = link, true; i < 3*len(special) {
						q.expr = special[i/3]
					} else {
						q.expr = g.expr(1 + g.IntN(4))
						if g.chance(40) {
							q.expr = special[g.IntN(len(special))] + g.pick(" and ", " or ") + q.expr
						}
					}
					want := l.ask(t, q)
					if want[0] == '?' {
						oracle.Need(t, "a handle of "+src.name, errors.New(want[2:]))
					}
					if got := q.ours(); want[0] == '-' && got[0] == '-' {
						continue
					} else if got != want && want[0] != '!' && !misledByTag(want, got) {
						t.Errorf("%s optimise=%v: %q\n libpcap %s\n ours    %s", link, !q.opts.NoOptimize, q.expr, want, got)
					}
					same++
				}
				if same < 100 {
					t.Errorf("%s: only %d expressions compared", link, same)
				}
			}
		})
	}
}

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
		q := g.query(all)
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
