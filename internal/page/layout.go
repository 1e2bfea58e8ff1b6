package page

import (
	"cmp"
	"math"
	"slices"
)

// A flow graph is laid out in layers, after Sugiyama, Tagawa and Toda: every
// block gets a rank below all blocks that lead to it (jumps back aside), edges
// over several ranks pass through dummies, ranks are ordered so that few edges
// cross, and x positions pull a node below the middle of its neighbours. The
// result depends on the graph alone.

// layout is where a function's blocks and edges are drawn, in pixels.
type layout struct {
	width, height int
	nodes         []node // the blocks, then the dummies
	routes        []route
	ranks         [][]int // nodes by rank, left to right
}

// node is a block or a dummy, a point an edge passes through.
type node struct {
	x, y, w, h int // top left corner, size; of a dummy w is 0
	rank       int
	dummy      bool
	up, down   []int // neighbours in the ranks above and below
}

func (n *node) middle() int { return n.x + n.w/2 }

// route is an edge of the flow graph: from block from to block to over dummies via.
type route struct {
	from, to int
	edge     int  // index in the block's succ
	back     bool // a loop: to stands above from, or is it
	via      []int
}

// Distances in pixels.
const (
	gapX      = 26 // between nodes of a rank
	gapDummy  = 12 // beside a dummy
	gapY      = 40 // between ranks
	margin    = 24
	loopSpace = 22 // right of a block that a loop leaves or enters
)

// newLayout places blocks of the given sizes.
func newLayout(f *function, size func(block int) (w, h int)) *layout {
	l := &layout{nodes: make([]node, len(f.blocks))}
	if len(f.blocks) == 0 {
		return l
	}
	order := l.rankNodes(f)
	for i := range f.blocks {
		l.nodes[i].w, l.nodes[i].h = size(i)
	}
	l.addDummies(f)
	l.firstOrder(order)
	l.untangle()
	l.placeX()
	l.placeY()
	return l
}

// rankNodes finds loops by depth-first search and gives every block the length
// of the longest path to it. It returns the blocks in topological order.
func (l *layout) rankNodes(f *function) []int {
	const (
		fresh = iota
		open
		done
	)
	mark := make([]uint8, len(f.blocks))
	next := make([]int, len(f.blocks))
	var order []int // reversed
	for root := range f.blocks {
		if mark[root] != fresh {
			continue
		}
		stack := []int{root}
		mark[root] = open
		for len(stack) > 0 {
			b := stack[len(stack)-1]
			if next[b] == len(f.blocks[b].succ) {
				mark[b] = done
				order = append(order, b)
				stack = stack[:len(stack)-1]
				continue
			}
			i := next[b]
			next[b]++
			to := f.blocks[b].succ[i].to
			l.routes = append(l.routes, route{from: b, to: to, edge: i, back: mark[to] == open})
			if mark[to] == fresh {
				mark[to] = open
				stack = append(stack, to)
			}
		}
	}
	slices.Reverse(order)
	slices.SortFunc(l.routes, func(a, b route) int { return cmp.Or(cmp.Compare(a.from, b.from), cmp.Compare(a.edge, b.edge)) })
	at := 0
	first := make([]int, len(f.blocks)+1) // by block: its first route
	for b := range f.blocks {
		for at < len(l.routes) && l.routes[at].from < b {
			at++
		}
		first[b] = at
	}
	first[len(f.blocks)] = len(l.routes)
	for _, b := range order {
		for _, r := range l.routes[first[b]:first[b+1]] {
			if !r.back {
				l.nodes[r.to].rank = max(l.nodes[r.to].rank, l.nodes[b].rank+1)
			}
		}
	}
	return order
}

// addDummies takes edges apart into steps of one rank. Edges to the same block
// share their dummies, so that many of them, to a common exit, say, become one line.
func (l *layout) addDummies(f *function) {
	type key struct {
		to, rank int
		back     bool
	}
	shared := map[key]int{}
	linked := map[[2]int]bool{}
	link := func(above, below int) {
		if p := [2]int{above, below}; !linked[p] {
			linked[p] = true
			l.nodes[above].down = append(l.nodes[above].down, below)
			l.nodes[below].up = append(l.nodes[below].up, above)
		}
	}
	for i := range l.routes {
		r := &l.routes[i]
		above, below := r.from, r.to
		if r.back {
			above, below = r.to, r.from
		}
		prev := above
		for rank := l.nodes[above].rank + 1; rank < l.nodes[below].rank; rank++ {
			k := key{r.to, rank, r.back}
			d, ok := shared[k]
			if !ok {
				d = len(l.nodes)
				shared[k] = d
				l.nodes = append(l.nodes, node{rank: rank, dummy: true})
			}
			r.via = append(r.via, d)
			link(prev, d)
			prev = d
		}
		if l.nodes[prev].rank < l.nodes[below].rank {
			link(prev, below)
		}
		if r.back {
			slices.Reverse(r.via)
		}
	}
}

// firstOrder fills the ranks: blocks in topological order, each dummy where
// the edge that made it comes by.
func (l *layout) firstOrder(order []int) {
	last := 0
	for i := range l.nodes {
		last = max(last, l.nodes[i].rank)
	}
	l.ranks = make([][]int, last+1)
	placed := make([]bool, len(l.nodes))
	place := func(n int) {
		if !placed[n] {
			placed[n] = true
			l.ranks[l.nodes[n].rank] = append(l.ranks[l.nodes[n].rank], n)
		}
	}
	for _, b := range order {
		place(b)
		for _, d := range l.nodes[b].down {
			for l.nodes[d].dummy && !placed[d] {
				place(d)
				d = l.nodes[d].down[0]
			}
		}
	}
	for n := range l.nodes {
		place(n)
	}
}

// untangle orders the nodes of each rank by the middle of their neighbours in
// the rank above, then below, and so on, and keeps the best order seen.
func (l *layout) untangle() {
	pos := make([]int, len(l.nodes))
	number := func(rank []int) {
		for i, n := range rank {
			pos[n] = i
		}
	}
	for _, rank := range l.ranks {
		number(rank)
	}
	sweeps := 24
	if len(l.nodes) > 5000 {
		sweeps = 8
	}
	best, fewest := l.copyRanks(), l.crossings(pos)
	key := make([]float64, len(l.nodes))
	for sweep := 0; sweep < sweeps && fewest > 0; sweep++ {
		for i := range l.ranks {
			rank, down := l.ranks[i], sweep%2 == 0
			if !down {
				rank = l.ranks[len(l.ranks)-1-i]
			}
			for _, n := range rank {
				near := l.nodes[n].up
				if !down {
					near = l.nodes[n].down
				}
				key[n] = float64(pos[n])
				if len(near) > 0 {
					sum := 0
					for _, m := range near {
						sum += pos[m]
					}
					key[n] = float64(sum) / float64(len(near))
				}
			}
			slices.SortStableFunc(rank, func(a, b int) int { return cmp.Compare(key[a], key[b]) })
			number(rank)
		}
		if c := l.crossings(pos); c < fewest {
			best, fewest = l.copyRanks(), c
		}
	}
	l.ranks = best
}

func (l *layout) copyRanks() [][]int {
	c := make([][]int, len(l.ranks))
	for i := range c {
		c[i] = slices.Clone(l.ranks[i])
	}
	return c
}

// crossings counts the pairs of edges that cross between neighbouring ranks:
// the inversions of the lower ends, with upper ends in order.
func (l *layout) crossings(pos []int) int {
	total := 0
	var ends, tree []int
	for i, rank := range l.ranks {
		if i+1 == len(l.ranks) {
			break
		}
		ends = ends[:0]
		for _, n := range rank {
			at := len(ends)
			for _, m := range l.nodes[n].down {
				ends = append(ends, pos[m])
			}
			slices.Sort(ends[at:])
		}
		// A Fenwick tree of the ends seen so far.
		size := len(l.ranks[i+1])
		tree = append(tree[:0], make([]int, size+1)...)
		for seen, e := range ends {
			notRight := 0
			for k := e + 1; k > 0; k -= k & -k {
				notRight += tree[k]
			}
			total += seen - notRight
			for k := e + 1; k <= size; k += k & -k {
				tree[k]++
			}
		}
	}
	return total
}

// placeX moves the nodes of each rank towards the middle of their neighbours,
// keeping order and distance, up and down a few times.
func (l *layout) placeX() {
	x := make([]float64, len(l.nodes)) // of middles
	for _, rank := range l.ranks {
		at := 0.0
		for i, n := range rank {
			if i > 0 {
				at += l.distance(rank[i-1], n)
			}
			x[n] = at
		}
	}
	var want, low, weight []float64
	var near []float64
	for sweep := range 16 {
		for i := range l.ranks {
			rank, down := l.ranks[i], sweep%2 == 0
			if !down {
				rank = l.ranks[len(l.ranks)-1-i]
			}
			want, low, weight = want[:0], low[:0], weight[:0]
			offset := 0.0
			for i, n := range rank {
				if i > 0 {
					offset += l.distance(rank[i-1], n)
				}
				list := l.nodes[n].up
				if !down {
					list = l.nodes[n].down
				}
				at, pull := x[n], 1.0
				if l.nodes[n].dummy && len(list) == 1 && l.nodes[list[0]].dummy {
					pull = 8 // long edges ought to be straight
				}
				if len(list) > 0 {
					near = near[:0]
					for _, m := range list {
						near = append(near, x[m])
					}
					slices.Sort(near)
					at = (near[(len(near)-1)/2] + near[len(near)/2]) / 2
				}
				want, low, weight = append(want, at-offset), append(low, offset), append(weight, pull)
			}
			for i, v := range monotone(want, weight) {
				x[rank[i]] = v + low[i]
			}
		}
	}
	left, right := math.Inf(1), math.Inf(-1)
	for i := range l.nodes {
		half := float64(l.nodes[i].w) / 2
		left, right = min(left, x[i]-half), max(right, x[i]+half+loopSpace)
	}
	for i := range l.nodes {
		n := &l.nodes[i]
		n.x = int(x[i]-left-float64(n.w)/2) + margin
	}
	l.width = int(right-left) + 2*margin
}

// distance is how far apart the middles of neighbours in a rank must be.
func (l *layout) distance(a, b int) float64 {
	gap := gapX
	if l.nodes[a].dummy || l.nodes[b].dummy {
		gap = gapDummy
	}
	return float64(l.nodes[a].w+l.nodes[b].w)/2 + float64(gap)
}

// monotone returns the rising sequence nearest to want by the weighted sum of
// squares: neighbours that fall are pooled to their mean.
func monotone(want, weight []float64) []float64 {
	type pool struct {
		mean, weight float64
		n            int
	}
	var pools []pool
	for i, v := range want {
		p := pool{v, weight[i], 1}
		for len(pools) > 0 {
			q := pools[len(pools)-1]
			if q.mean <= p.mean {
				break
			}
			p = pool{(q.mean*q.weight + p.mean*p.weight) / (q.weight + p.weight), q.weight + p.weight, q.n + p.n}
			pools = pools[:len(pools)-1]
		}
		pools = append(pools, p)
	}
	out := make([]float64, 0, len(want))
	for _, p := range pools {
		for range p.n {
			out = append(out, p.mean)
		}
	}
	return out
}

// placeY puts the ranks below each other.
func (l *layout) placeY() {
	y := margin
	for _, rank := range l.ranks {
		tall := 0
		for _, n := range rank {
			tall = max(tall, l.nodes[n].h)
		}
		for _, n := range rank {
			l.nodes[n].y = y
			if l.nodes[n].dummy {
				l.nodes[n].h = tall
			}
		}
		y += tall + gapY
	}
	l.height = y - gapY + margin
}
