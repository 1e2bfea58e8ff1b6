package page

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/skep-bpf/skep/image"
	"github.com/skep-bpf/skep/isa"
)

var update = flag.Bool("update", false, "write the goldens")

// TestBlocks cuts small programs into blocks.
func TestBlocks(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"straight", "r0 = 0\nexit\n", "0-2"},
		{"a branch", "r0 = 0\nif r1 > 3 goto +1\nr0 = 1\nexit\n", "0-2 →1 fall →2 jump, 2-3 →2, 3-4"},
		{"a loop", "r0 = 0\nr0 += 1\nif r0 < 3 goto -2\nexit\n", "0-1 →1, 1-3 →2 fall →1 jump, 3-4"},
		{"a jump on itself", "goto -1\n", "0-1 →0"},
		{"a wide load", "r0 = 5 ll\nif r0 == 1 goto +2\nr1 = 7 ll\nexit\n", "0-3 →1 fall →2 jump, 3-5 →2, 5-6"},
		{"a jump out of the program", "if r0 == 1 goto +100\nexit\n", "0-1 →1 fall, 1-2"},
		{"no end", "r0 = 0\n", "0-1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			insns, err := isa.Assemble(c.name, c.text, isa.Symbols{})
			if err != nil {
				t.Fatal(err)
			}
			f := function{end: len(insns)}
			f.findBlocks(insns, counts{})
			var got []string
			for _, b := range f.blocks {
				s := fmt.Sprintf("%d-%d", b.start, b.end)
				for _, e := range b.succ {
					s += fmt.Sprintf(" →%d%s", e.to, [...]string{"", " jump", " fall"}[e.kind])
				}
				got = append(got, s)
			}
			if s := strings.Join(got, ", "); s != c.want {
				t.Errorf("got  %s\nwant %s", s, c.want)
			}
		})
	}
}

// TestLayoutHolds lays random graphs out and looks whether nothing overlaps,
// edges lead down and loops up, and all of it lies inside the picture.
func TestLayoutHolds(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 300 {
		f := &function{}
		n := 1 + r.IntN(40)
		for range n {
			b := block{}
			for range r.IntN(3) {
				b.succ = append(b.succ, edge{to: r.IntN(n)})
			}
			f.blocks = append(f.blocks, b)
		}
		size := func(i int) (w, h int) { return 40 + i%7*30, 20 + i%3*16 }
		l := newLayout(f, size)
		checkLayout(t, f, l)
		if d := cmp.Diff(l.draw(), newLayout(f, size).draw()); d != "" {
			t.Fatalf("another layout the second time:\n%s", d)
		}
		if t.Failed() {
			return
		}
	}
}

func checkLayout(t *testing.T, f *function, l *layout) {
	t.Helper()
	left := l.width
	for i := range l.nodes {
		left = min(left, l.nodes[i].x)
	}
	if left > margin {
		t.Errorf("the picture begins with %d empty pixels", left)
	}
	for rank, list := range l.ranks {
		for i, n := range list {
			a := &l.nodes[n]
			if a.rank != rank || a.x < 0 || a.y < 0 || a.x+a.w > l.width || a.y+a.h > l.height {
				t.Errorf("node %d at %d,%d size %d,%d in a picture of %d,%d", n, a.x, a.y, a.w, a.h, l.width, l.height)
			}
			if i > 0 {
				if b := &l.nodes[list[i-1]]; b.x+b.w >= a.x {
					t.Errorf("nodes %d and %d overlap", list[i-1], n)
				}
			}
		}
	}
	edges := 0
	for _, b := range f.blocks {
		edges += len(b.succ)
	}
	if len(l.routes) != edges {
		t.Errorf("%d routes for %d edges", len(l.routes), edges)
	}
	for _, r := range l.routes {
		chain := append(append([]int{r.from}, r.via...), r.to)
		if r.back {
			slices.Reverse(chain)
		}
		for i := 1; i < len(chain); i++ {
			if a, b := l.nodes[chain[i-1]].rank, l.nodes[chain[i]].rank; b != a+1 && !(r.back && r.from == r.to) {
				t.Errorf("route from %d to %d goes from rank %d to %d", r.from, r.to, a, b)
			}
		}
		if down := l.nodes[r.from].rank < l.nodes[r.to].rank; down == r.back {
			t.Errorf("route from %d to %d: back %v, down %v", r.from, r.to, r.back, down)
		}
	}
}

// draw is all of a layout as text: the ranks' blocks, and the paths.
func (l *layout) draw() string {
	var b strings.Builder
	for _, rank := range l.ranks {
		for _, n := range rank {
			if a := &l.nodes[n]; !a.dummy {
				fmt.Fprintf(&b, "  %d at %d,%d", n, a.x, a.y)
			} else {
				fmt.Fprintf(&b, "  | at %d", a.x)
			}
		}
		b.WriteByte('\n')
	}
	for i, port := range l.ports() {
		r := &l.routes[i]
		fmt.Fprintf(&b, "%d → %d %s\n", r.from, r.to, l.path(r, port))
	}
	return b.String()
}

// TestLayoutGolden keeps the layout of the examples' functions.
func TestLayoutGolden(t *testing.T) {
	var b strings.Builder
	for _, object := range []string{"loops/loops", "loops/bpf_for", "refused/refused", "firewall/firewall"} {
		img, err := image.LoadFile(filepath.Join("../../examples", object+".o"), nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range img.Programs {
			starts := functionStarts(p.Insns)
			for i, start := range starts {
				f := &function{start: start, end: len(p.Insns)}
				if i+1 < len(starts) {
					f.end = starts[i+1]
				}
				f.findBlocks(p.Insns, counts{})
				l := newLayout(f, func(i int) (w, h int) { return 100, 30 + 2*min(20, f.blocks[i].end-f.blocks[i].start) })
				fmt.Fprintf(&b, "%s %s %d: %d x %d\n%s\n", object, p.Name, start, l.width, l.height, l.draw())
			}
		}
	}
	const file = "testdata/layout.txt"
	if *update {
		if err := os.WriteFile(file, []byte(b.String()), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), b.String()); d != "" {
		t.Errorf("the layout has changed (-update writes it, look at a page too):\n%s", d)
	}
}
