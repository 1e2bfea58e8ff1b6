package bpfsys

import (
	"net/netip"
	"testing"

	"github.com/skep-bpf/skep/internal/socket"
)

// TestClosedSocketsAreForgotten: who makes and closes sockets for ever does not fill the system's memory.
func TestClosedSocketsAreForgotten(t *testing.T) {
	var (
		all   sockets
		table socket.Table
		kept  uint32
	)
	for i := range uint64(1000) {
		spec := socket.Spec{Protocol: socket.UDP, Local: netip.MustParseAddrPort("127.0.0.1:9")}
		life := func() Life { return Closed }
		if i == 7 {
			life = func() Life { return Open }
		}
		all.sweepFull()
		n, e := all.number(&table, &spec, i+1, life)
		if e != 0 {
			t.Fatal(e)
		}
		if i == 7 {
			kept = n
		}
	}
	if n := len(all.known); n > minSweep || len(all.cookies) != n {
		t.Errorf("%d sockets are known by %d cookies, want at most %d", len(all.cookies), n, minSweep)
	}
	if s := table.Get(kept); s == nil || s.Cookie != 8 {
		t.Errorf("the open one is %v", s)
	}
	all.close()
}
