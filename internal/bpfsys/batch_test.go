//go:build linux

package bpfsys

import (
	"encoding/binary"
	"math"
	"runtime"
	"testing"
	"unsafe"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
)

// TestBatchOfAnyCount: a batch costs memory for the elements there are, whatever the caller counts on and though a
// bucket has more of them than a part.
func TestBatchOfAnyCount(t *testing.T) {
	const size, n = 1 << 20, 16
	if got := partOf(size + 4); got != 1 {
		t.Fatalf("a part has %d elements, want one", got)
	}
	for _, d := range both(t) {
		for _, typ := range []catalog.MapType{catalog.MapHash, catalog.MapArray} {
			fd, e := d.bpf(MapCreate, raw(mapCreate{MapType: uint32(typ), KeySize: 4, ValueSize: size, MaxEntries: n}), attrSize)
			if e != 0 {
				t.Fatal(d.name, typ, e)
			}
			defer d.close(fd)
			keys, values := d.mem[atKey:][:4*n], make([]byte, size*n)
			at := uint64(uintptr(unsafe.Pointer(&values[0])))
			for i := range n {
				binary.NativeEndian.PutUint32(keys[4*i:], uint32(i))
				values[i*size] = byte(i) + 1
			}
			in := mapBatch{MapFd: fd, Keys: d.addr(atKey), Values: at, Count: n}
			if _, e := d.bpf(MapUpdateBatch, raw(in), attrSize); e != 0 {
				t.Fatal(d.name, typ, e)
			}
			clear(keys)
			clear(values)
			cmds := []Cmd{MapLookupBatch}
			if typ == catalog.MapHash {
				cmds = append(cmds, MapLookupAndDeleteBatch)
			}
			for _, cmd := range cmds {
				all := mapBatch{MapFd: fd, Keys: d.addr(atKey), Values: at, OutBatch: d.addr(atOut), Count: math.MaxUint32}
				attr := raw(all)
				var before, after runtime.MemStats
				runtime.ReadMemStats(&before)
				_, e = d.bpf(cmd, attr, attrSize)
				runtime.ReadMemStats(&after)
				if got := (*mapBatch)(unsafe.Pointer(&attr[0])).Count; e != errno.ENOENT || got != n {
					t.Errorf("%s: %s, %v: %d elements, %v; want %d, %v", d.name, typ, cmd, got, e, n, errno.ENOENT)
				}
				if b := after.TotalAlloc - before.TotalAlloc; b > 8*n*size {
					t.Errorf("%s: %s, %v: %d bytes allocated", d.name, typ, cmd, b)
				}
				for i := range n {
					if k := binary.NativeEndian.Uint32(keys[4*i:]); values[i*size] != byte(k)+1 {
						t.Errorf("%s: %s, %v: element %d has value %d", d.name, typ, cmd, k, values[i*size])
					}
				}
			}
		}
	}
}
