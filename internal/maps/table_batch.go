package maps

import (
	"encoding/binary"
	"sync/atomic"
	"unsafe"

	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/mem"
)

// batch follows __htab_map_lookup_and_delete_batch: whole buckets at a time,
// from the bucket In names, until a bucket no longer fits. ENOSPC says that
// not even one does; ENOENT that the last bucket was reached. read copies the
// value of an element, then remove, if not nil, takes it out; both under the
// bucket's lock. after, if not nil, is called for each bucket once it is unlocked.
// A nil read copies the value as it is.
func (t *table) batch(b *Batch, valueSize int, read func(i uint32, value []byte), remove func(i uint32), after func()) (int, errno.Errno) {
	if b.Flags != 0 {
		return 0, errno.EINVAL
	}
	if b.Count == 0 {
		return 0, 0
	}
	bucket := uint64(0)
	if b.In != nil {
		if len(b.In) < 4 {
			return 0, errno.EFAULT
		}
		bucket = uint64(binary.NativeEndian.Uint32(b.In))
	}
	if bucket > uint64(t.mask) {
		return 0, errno.ENOENT
	}
	keySize := int(t.keySize)
	if !b.holds(keySize, valueSize) || len(b.Out) < 4 {
		return 0, errno.EFAULT
	}
	n, e := 0, errno.Errno(0)
	for ; bucket <= uint64(t.mask); bucket++ {
		got, sure := 0, false
		if read == nil && remove == nil {
			got, sure = t.glanceBucket(uint32(bucket), b, n, valueSize)
		}
		if !sure {
			got = t.batchBucket(uint32(bucket), b, n, valueSize, read, remove)
		}
		if got < 0 {
			break
		}
		if got > 0 && after != nil {
			after()
		}
		n += got
	}
	switch {
	case bucket > uint64(t.mask):
		e = errno.ENOENT
	case n == 0:
		e = errno.ENOSPC
	}
	binary.NativeEndian.PutUint32(b.Out, uint32(bucket))
	return n, e
}

// glanceBucket is batchBucket without the lock. Unless it is sure, a writer was in
// the way, or the bucket does not fit.
func (t *table) glanceBucket(bucket uint32, b *Batch, n, valueSize int) (size int, sure bool) {
	l := t.lockOf(bucket)
	seen := l.begin()
	for i := atomic.LoadUint32(t.head(bucket)); !isEnd(i); size++ {
		if n+size == int(b.Count) {
			return 0, false
		}
		e := mem.Ptr(t.addr(i))
		loadWords(unsafe.Pointer(&b.Keys[(n+size)*int(t.keySize)]), unsafe.Add(e, ElemKey), uintptr(t.keySize))
		loadWords(unsafe.Pointer(&b.Values[(n+size)*valueSize]), unsafe.Add(e, t.valOff), uintptr(valueSize))
		i = atomic.LoadUint32((*uint32)(unsafe.Add(e, ElemNext)))
	}
	return size, l.same(seen)
}

// batchBucket copies one bucket behind the n elements there are and returns
// its length, or −1 when it does not fit.
func (t *table) batchBucket(bucket uint32, b *Batch, n, valueSize int, read func(uint32, []byte), remove func(uint32)) int {
	if isEnd(*t.head(bucket)) {
		return 0
	}
	l := t.lockOf(bucket)
	l.Lock()
	defer l.Unlock()
	size := 0
	for i := *t.head(bucket); !isEnd(i); i = *t.next(i) {
		size++
	}
	if size > int(b.Count)-n {
		return -1
	}
	for i := *t.head(bucket); !isEnd(i); n++ {
		next := *t.next(i)
		copyWords(ptr(b.Keys[n*int(t.keySize):]), t.key(i), uintptr(t.keySize))
		if value := b.Values[n*valueSize:][:valueSize]; read != nil {
			read(i, value)
		} else {
			copyWords(ptr(value), mem.Ptr(t.value(i)), uintptr(valueSize))
		}
		if remove != nil {
			remove(i)
		}
		i = next
	}
	return size
}
