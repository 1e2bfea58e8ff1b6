package maps

import (
	"sync"
	"sync/atomic"

	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/mem"
)

// lru keeps the elements of an LRU table in the kernel's lists
// (kernel/bpf/bpf_lru_list.c), move for move, so that the same operations on
// the same CPU evict the same keys.
//
//	one list for all, with local lists per CPU:    with BPF_F_NO_COMMON_LRU, per CPU:
//
//	  local free ──take──▶ local pending              free ──take──▶ inactive
//	      ▲                    │ flush                   ▲              │ ▲
//	      │ refill             ▼                         │ shrink       ▼ │
//	     free ◀──shrink── inactive ⇄ active              └────────── inactive ⇄ active
//
// A lookup by a program sets the element's reference bit. Rotation moves
// referenced elements to the active list and unreferenced ones back; shrinking
// evicts from the end of the inactive list, and whatever is last when all are referenced.
//
// Locks are taken in the order local list, list, bucket.
type lru struct {
	t     *table
	nodes []lruNode // by element, then the heads of the lists
	cpus  int

	common     *lruList   // nil with BPF_F_NO_COMMON_LRU
	local      []lruLocal // per CPU, with common
	perCPU     []lruList  // per CPU, without
	scans      int        // most elements looked at in one rotation
	targetFree int        // elements a refill aims at

	// evict unlinks an element from its bucket; it reports false if someone else has.
	evict func(i uint32) bool
}

// lruNode links one element; prev and next are indexes of nodes. All is
// written under the list's lock, but the state may be read without.
type lruNode struct {
	prev, next uint32
	state      atomic.Uint32 // CPU << 8 | kind
}

func (n *lruNode) cpu() int { return int(n.state.Load() >> 8) }

func (n *lruNode) kind() lruKind { return lruKind(n.state.Load()) }

func (n *lruNode) set(cpu int, k lruKind) { n.state.Store(uint32(cpu)<<8 | uint32(k)) }

// lruKind says which list an element is on.
type lruKind uint8

const (
	lruActive lruKind = iota
	lruInactive
	lruFree
	lruLocalFree
	lruLocalPending
)

// lruList is one set of lists with its lock.
type lruList struct {
	mu       sync.Mutex
	heads    [3]uint32 // of lruActive, lruInactive and lruFree
	counts   [2]int    // of lruActive and lruInactive
	rotation uint32    // where the next rotation of the inactive list begins
}

// lruLocal is one CPU's stock of free elements, and those it took lately.
type lruLocal struct {
	mu            sync.Mutex
	free, pending uint32 // heads
	steal         int    // CPU to steal from next
}

// Constants of the kernel's policy.
const (
	lruLocalTarget  = 128 // LOCAL_FREE_TARGET, LOCAL_NR_SCANS
	lruPerCPUTarget = 4   // PERCPU_FREE_TARGET, PERCPU_NR_SCANS
)

// newLRU puts elements 1 to n of t on free lists.
func newLRU(t *table, n uint32, cpus int, perCPU bool, evict func(uint32) bool) *lru {
	l := &lru{t: t, cpus: cpus, evict: evict}
	l.nodes = make([]lruNode, int(n)+1+3*cpus+2*cpus) // and the heads of at most so many lists
	head := n + 1
	newHead := func() uint32 {
		l.nodes[head].prev, l.nodes[head].next = head, head
		head++
		return head - 1
	}
	newList := func(s *lruList) {
		for i := range s.heads {
			s.heads[i] = newHead()
		}
		s.rotation = s.heads[lruInactive]
	}
	if perCPU {
		l.perCPU = make([]lruList, cpus)
		for cpu := range l.perCPU {
			newList(&l.perCPU[cpu])
		}
		l.scans = lruPerCPUTarget
		each := n / uint32(cpus)
		for i := range n {
			cpu := min(int(i/each), cpus-1)
			l.nodes[i+1].set(cpu, lruFree)
			l.insert(i+1, l.perCPU[cpu].heads[lruFree])
		}
		return l
	}
	l.common = new(lruList)
	newList(l.common)
	l.local = make([]lruLocal, cpus)
	for cpu := range l.local {
		l.local[cpu] = lruLocal{free: newHead(), pending: newHead(), steal: cpu}
	}
	l.scans = lruLocalTarget
	l.targetFree = min(max(int(n)/cpus/2, 1), lruLocalTarget)
	for i := uint32(1); i <= n; i++ {
		l.nodes[i].set(0, lruFree)
		l.insert(i, l.common.heads[lruFree])
	}
	return l
}

// insert links i right behind a head.
func (l *lru) insert(i, head uint32) {
	next := l.nodes[head].next
	l.nodes[i].prev, l.nodes[i].next = head, next
	l.nodes[head].next, l.nodes[next].prev = i, i
}

func (l *lru) unlink(i uint32) {
	n := &l.nodes[i]
	l.nodes[n.prev].next, l.nodes[n.next].prev = n.next, n.prev
}

func (l *lru) move(i, head uint32) {
	l.unlink(i)
	l.insert(i, head)
}

func (l *lru) empty(head uint32) bool { return l.nodes[head].next == head }

// ref is the element's reference bit, a word of which native code stores the low byte.
func (l *lru) ref(i uint32) *uint32 { return (*uint32)(mem.Ptr(l.t.addr(i) + ElemRef)) }

func (l *lru) isRef(i uint32) bool { return atomic.LoadUint32(l.ref(i)) != 0 }

func (l *lru) clearRef(i uint32) { atomic.StoreUint32(l.ref(i), 0) }

// touch sets the reference bit; a set one is not written again.
func (l *lru) touch(i uint32) {
	if !l.isRef(i) {
		atomic.StoreUint32(l.ref(i), 1)
	}
}

// skipRotation moves the rotation's place back if it is at i, which is about to move.
func (l *lru) skipRotation(s *lruList, i uint32) {
	if s.rotation == i {
		s.rotation = l.nodes[i].prev
	}
}

func (s *lruList) count(k lruKind, d int) {
	if k < lruFree {
		s.counts[k] += d
	}
}

// moveToFree moves an element of s to a free list, of s or local.
func (l *lru) moveToFree(s *lruList, i, head uint32, kind lruKind) {
	l.skipRotation(s, i)
	n := &l.nodes[i]
	s.count(n.kind(), -1)
	n.set(n.cpu(), kind)
	l.move(i, head)
}

// moveWithin moves an element between the lists of s, or to the front of its own.
func (l *lru) moveWithin(s *lruList, i uint32, kind lruKind) {
	n := &l.nodes[i]
	if was := n.kind(); was != kind {
		s.count(was, -1)
		s.count(kind, 1)
		n.set(n.cpu(), kind)
	}
	l.clearRef(i)
	l.skipRotation(s, i)
	l.move(i, s.heads[kind])
}

// moveIn takes an element from a local list over into s.
func (l *lru) moveIn(s *lruList, i uint32, kind lruKind) {
	s.count(kind, 1)
	n := &l.nodes[i]
	n.set(n.cpu(), kind)
	l.clearRef(i)
	l.move(i, s.heads[kind])
}

// rotate gives referenced elements another chance: the active list's end, when
// it has outgrown the inactive one, and a stretch of the inactive list.
func (l *lru) rotate(s *lruList) {
	if s.counts[lruInactive] < s.counts[lruActive] {
		l.rotateActive(s)
	}
	l.rotateInactive(s)
}

func (l *lru) rotateActive(s *lruList) {
	head := s.heads[lruActive]
	first := l.nodes[head].next
	for i, n := l.nodes[head].prev, 0; i != head; {
		prev := l.nodes[i].prev
		if l.isRef(i) {
			l.moveWithin(s, i, lruActive)
		} else {
			l.moveWithin(s, i, lruInactive)
		}
		if n++; n == l.scans || i == first {
			return
		}
		i = prev
	}
}

func (l *lru) rotateInactive(s *lruList) {
	head := s.heads[lruInactive]
	if l.empty(head) {
		return
	}
	last := l.nodes[s.rotation].next
	if last == head {
		last = l.nodes[last].next
	}
	next := head
	for cur, n := s.rotation, 0; n < l.scans; {
		if cur == head {
			cur = l.nodes[cur].prev
			continue
		}
		next = l.nodes[cur].prev
		if l.isRef(cur) {
			l.moveWithin(s, cur, lruActive)
		}
		if cur == last {
			break
		}
		cur = next
		n++
	}
	s.rotation = next
}

// shrink evicts up to want elements to a free list and returns how many it got:
// unreferenced ones from the end of the inactive list, or else any one.
func (l *lru) shrink(s *lruList, want int, free uint32, kind lruKind) int {
	head := s.heads[lruInactive]
	got := 0
	for i, n := l.nodes[head].prev, 0; i != head; {
		prev := l.nodes[i].prev
		if l.isRef(i) {
			l.moveWithin(s, i, lruActive)
		} else if l.evict(i) {
			l.moveToFree(s, i, free, kind)
			if got++; got == want {
				break
			}
		}
		if n++; n == l.scans {
			break
		}
		i = prev
	}
	if got != 0 {
		return got
	}
	if l.empty(head) {
		head = s.heads[lruActive]
	}
	for i := l.nodes[head].prev; i != head; {
		prev := l.nodes[i].prev
		if l.evict(i) {
			l.moveToFree(s, i, free, kind)
			return 1
		}
		i = prev
	}
	return 0
}

// get returns an element for a new key with hash h, evicting others if it must, or none.
func (l *lru) get(cpu int, h uint32) uint32 {
	if l.common == nil {
		return l.getPerCPU(cpu, h)
	}
	loc := &l.local[cpu]
	loc.mu.Lock()
	i := l.popFree(loc)
	if i == none {
		l.refill(loc)
		i = l.popFree(loc)
	}
	if i != none {
		l.addPending(loc, cpu, i, h)
	}
	loc.mu.Unlock()
	if i != none {
		return i
	}
	return l.stealFor(loc, cpu, h)
}

func (l *lru) getPerCPU(cpu int, h uint32) uint32 {
	s := &l.perCPU[cpu]
	s.mu.Lock()
	defer s.mu.Unlock()
	l.rotate(s)
	head := s.heads[lruFree]
	if l.empty(head) {
		l.shrink(s, lruPerCPUTarget, head, lruFree)
	}
	if l.empty(head) {
		return none
	}
	i := l.nodes[head].next
	atomic.StoreUint32(l.t.hash(i), h)
	l.moveWithin(s, i, lruInactive)
	return i
}

// popFree takes an element off a local free list.
func (l *lru) popFree(loc *lruLocal) uint32 {
	i := l.nodes[loc.free].next
	if i == loc.free {
		return none
	}
	l.unlink(i)
	return i
}

// popPending evicts the oldest element a CPU took lately, unreferenced ones first.
func (l *lru) popPending(loc *lruLocal) uint32 {
	for _, force := range []bool{false, true} {
		for i := l.nodes[loc.pending].prev; i != loc.pending; i = l.nodes[i].prev {
			if (force || !l.isRef(i)) && l.evict(i) {
				l.unlink(i)
				return i
			}
		}
	}
	return none
}

// addPending puts a taken element on its CPU's pending list.
func (l *lru) addPending(loc *lruLocal, cpu int, i, h uint32) {
	atomic.StoreUint32(l.t.hash(i), h)
	l.nodes[i].set(cpu, lruLocalPending)
	l.clearRef(i)
	l.insert(i, loc.pending)
}

// refill flushes a CPU's pending elements into the common list and stocks up
// from its free ones, evicting for the rest.
func (l *lru) refill(loc *lruLocal) {
	s := l.common
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := l.nodes[loc.pending].prev; i != loc.pending; {
		prev := l.nodes[i].prev
		if l.isRef(i) {
			l.moveIn(s, i, lruActive)
		} else {
			l.moveIn(s, i, lruInactive)
		}
		i = prev
	}
	l.rotate(s)
	got := 0
	for head := s.heads[lruFree]; got < l.targetFree && !l.empty(head); got++ {
		l.moveToFree(s, l.nodes[head].next, loc.free, lruLocalFree)
	}
	if got < l.targetFree {
		l.shrink(s, l.targetFree-got, loc.free, lruLocalFree)
	}
}

// stealFor takes an element from the local lists of the CPUs in turn.
func (l *lru) stealFor(loc *lruLocal, cpu int, h uint32) uint32 {
	loc.mu.Lock()
	first := loc.steal
	loc.mu.Unlock()
	from, i := first, none
	for {
		victim := &l.local[from]
		victim.mu.Lock()
		if i = l.popFree(victim); i == none {
			i = l.popPending(victim)
		}
		victim.mu.Unlock()
		from = (from + 1) % l.cpus
		if i != none || from == first {
			break
		}
	}
	loc.mu.Lock()
	defer loc.mu.Unlock()
	loc.steal = from
	if i != none {
		l.addPending(loc, cpu, i, h)
	}
	return i
}

// put takes back an element that is in no bucket any more.
func (l *lru) put(i uint32) {
	n := &l.nodes[i]
	if l.common == nil {
		s := &l.perCPU[n.cpu()]
		s.mu.Lock()
		l.moveWithin(s, i, lruFree)
		s.mu.Unlock()
		return
	}
	if n.kind() == lruLocalPending {
		loc := &l.local[n.cpu()]
		loc.mu.Lock()
		if n.kind() == lruLocalPending { // not flushed meanwhile
			n.set(n.cpu(), lruLocalFree)
			l.clearRef(i)
			l.move(i, loc.free)
			loc.mu.Unlock()
			return
		}
		loc.mu.Unlock()
	}
	l.common.mu.Lock()
	l.moveWithin(l.common, i, lruFree)
	l.common.mu.Unlock()
}

// batchRemove is a table's batch with removal. Elements go back to the lists
// after each bucket, when its lock is free, the last one first as on the kernel.
func (l *lru) batchRemove(b *Batch, valueSize int, read func(uint32, []byte), freeFields func(uint32)) (int, errno.Errno) {
	var removed []uint32
	return l.t.batch(b, valueSize, read, func(i uint32) {
		l.t.unlink(i)
		freeFields(i)
		removed = append(removed, i)
	}, func() {
		for n := len(removed) - 1; n >= 0; n-- {
			l.put(removed[n])
		}
		removed = removed[:0]
	})
}
