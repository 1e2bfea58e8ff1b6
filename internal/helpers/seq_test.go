package helpers

import (
	"encoding/binary"
	"testing"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
)

// What iterators write goes to whoever reads them; programs beside the kernel's are in internal/serve.
func TestSeq(t *testing.T) {
	e, _ := env(t)
	b := newScratch(t, 256)
	copy(b.Bytes(), "id %4d %x\n\x00")
	copy(b.Bytes()[64:], "name\x00")
	binary.NativeEndian.PutUint64(b.Bytes()[32:], 17)
	binary.NativeEndian.PutUint64(b.Bytes()[40:], 0xbee)
	if r := e.do(catalog.FnSeqWrite, 1, b.Addr(), 2); int64(r) != -int64(errno.EOVERFLOW) {
		t.Errorf("nobody reads: %d", int64(r))
	}
	var got []byte
	e.Seq = func(p []byte) { got = append(got, p...) }
	for _, c := range []struct {
		id   catalog.HelperID
		args [5]uint64
		want int64
	}{
		{catalog.FnSeqWrite, [5]uint64{1, b.Addr() + 64, 4}, 0},
		{catalog.FnSeqPrintf, [5]uint64{1, b.Addr(), 11, b.Addr() + 32, 16}, 0},
		{catalog.FnSeqPrintf, [5]uint64{1, b.Addr(), 11, b.Addr() + 32, 12}, -int64(errno.EINVAL)},
		{catalog.FnSeqPrintf, [5]uint64{1, b.Addr(), 5, b.Addr() + 32, 16}, -int64(errno.EINVAL)}, // no end
	} {
		if r := e.do(c.id, c.args[:]...); int64(r) != c.want {
			t.Errorf("%v%v: %d, want %d", c.id, c.args, int64(r), c.want)
		}
	}
	if want := "nameid   17 bee\n"; string(got) != want {
		t.Errorf("%q, want %q", got, want)
	}
}
