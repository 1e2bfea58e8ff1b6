package maps

import "sync/atomic"

// maxTwins is how far back in a chain repair looks for another element with the same key.
const maxTwins = 64

// repair makes whole what lock n guards after its holder was killed; the lock is ours. Chains are whole
// already, unless somebody wrote where he should not. What may be left is an element linked whose predecessor is not
// yet unlinked, elements in no chain, and hints that are wrong.
func (t *sharedTable) repair(n uint32) {
	seen := make([]uint64, t.words())
	for b := uint64(n); b <= uint64(t.mask); b += tableLocks {
		t.repairChain(uint32(b), n, seen)
	}
	spare, old := none, atomic.LoadUint32(t.spare(n))
	lost := func(i uint32) bool {
		return atomic.LoadUint32(t.owner(i)) == n+1 && seen[i/64]&(1<<(i%64)) == 0
	}
	if !isEnd(old) && old < t.count && lost(old) {
		spare = old
	}
	for i := uint32(1); i < t.count; i++ {
		switch {
		case i == spare:
		case lost(i) && spare == none:
			spare = i
		case lost(i):
			t.free(i)
		case atomic.LoadUint32(t.owner(i)) == 0:
			t.hint(i)
		}
	}
	atomic.StoreUint32(t.spare(n), spare)
}

// repairChain takes out of a chain what cannot be in it, and marks the rest.
func (t *sharedTable) repairChain(bucket, n uint32, seen []uint64) {
	at := t.head(bucket)
	var chain []uint32
	for range t.count { // if the chain does not stand still while it is looked at, what is left is the next one's
		l := atomic.LoadUint32(at)
		if isEnd(l) {
			break
		}
		if l >= t.count || seen[l/64]&(1<<(l%64)) != 0 || atomic.LoadUint32(t.hash(l))&t.mask != bucket ||
			atomic.LoadUint32(t.owner(l)) != n+1 || atomic.LoadUint32(t.version(l))&1 != 0 {
			atomic.StoreUint32(at, LinkEnd|bucket)
			break
		}
		next := atomic.LoadUint32(t.next(l))
		if t.twin(l, chain) {
			atomic.StoreUint32(at, next) // the older of two
			continue
		}
		seen[l/64] |= 1 << (l % 64)
		chain = append(chain, l)
		at = t.next(l)
	}
}

// twin reports whether an element has the key of one nearer to the head.
func (t *sharedTable) twin(i uint32, chain []uint32) bool {
	for _, j := range chain[max(0, len(chain)-maxTwins):] {
		if atomic.LoadUint32(t.hash(i)) == atomic.LoadUint32(t.hash(j)) && equal(t.key(i), t.key(j), t.keySize) {
			return true
		}
	}
	return false
}
