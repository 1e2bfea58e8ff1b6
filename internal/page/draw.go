package page

import (
	"fmt"
	"slices"
	"strings"
)

// ports spreads the edges that leave a block over its lower side, in the order
// of where they lead: the x of each route that is no loop.
func (l *layout) ports() []int {
	x := make([]int, len(l.routes))
	for i := 0; i < len(l.routes); {
		from := l.routes[i].from
		var out []int
		for ; i < len(l.routes) && l.routes[i].from == from; i++ {
			if !l.routes[i].back {
				out = append(out, i)
			}
		}
		goal := func(r int) int {
			if v := l.routes[r].via; len(v) > 0 {
				return l.nodes[v[0]].middle()
			}
			return l.nodes[l.routes[r].to].middle()
		}
		slices.SortStableFunc(out, func(a, b int) int { return goal(a) - goal(b) })
		n := &l.nodes[from]
		for k, r := range out {
			x[r] = n.x + n.w*(k+1)/(len(out)+1)
		}
	}
	return x
}

// path returns the SVG path of a route that leaves its block at x = port.
func (l *layout) path(r *route, port int) string {
	var b strings.Builder
	from, to := &l.nodes[r.from], &l.nodes[r.to]
	if r.back {
		l.loopPath(&b, r, from, to)
		return b.String()
	}
	x, y := port, from.y+from.h
	fmt.Fprintf(&b, "M%d %d", x, y)
	straight := false // the line down to y is still to be drawn
	down := func() {
		if straight {
			fmt.Fprintf(&b, "V%d", y)
		}
		straight = false
	}
	lead := func(tx, ty int) {
		if tx != x {
			down()
			m := (ty - y) / 2
			fmt.Fprintf(&b, "C%d %d %d %d %d %d", x, y+m, tx, ty-m, tx, ty)
		} else {
			straight = true
		}
		x, y = tx, ty
	}
	for _, d := range r.via {
		n := &l.nodes[d]
		lead(n.x, n.y)
		lead(n.x, n.y+n.h)
	}
	lead(to.middle(), to.y-5) // the arrow's head
	down()
	return b.String()
}

// loopPath leads from a block's right side up to the right side of another.
func (l *layout) loopPath(b *strings.Builder, r *route, from, to *node) {
	x, y := from.x+from.w, from.y+from.h*2/3
	tx, ty := to.x+to.w+5, to.y+to.h/3
	fmt.Fprintf(b, "M%d %d", x, y)
	if len(r.via) == 0 {
		side := max(x, tx) + loopSpace
		fmt.Fprintf(b, "C%d %d %d %d %d %d", side, y, side, ty, tx, ty)
		return
	}
	first := &l.nodes[r.via[0]]
	start := first.y + first.h
	fmt.Fprintf(b, "C%d %d %d %d %d %d", x+loopSpace, y, first.x, start+gapY, first.x, start)
	x, y = first.x, start
	for _, d := range r.via {
		n := &l.nodes[d]
		if n.x != x {
			m := (y - n.y - n.h) / 2
			fmt.Fprintf(b, "C%d %d %d %d %d %d", x, y-m, n.x, n.y+n.h+m, n.x, n.y+n.h)
		}
		fmt.Fprintf(b, "V%d", n.y)
		x, y = n.x, n.y
	}
	fmt.Fprintf(b, "C%d %d %d %d %d %d", x, y-gapY, tx+loopSpace, ty, tx, ty)
}
