package bpfsys

import (
	"net/netip"
	"testing"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/socket"
)

// TestRunsAskAfterSockets: a test run asks what has become of the sockets that are known where the
// program may come upon one in a map, and else does not.
func TestRunsAskAfterSockets(t *testing.T) {
	d := newSide(t, "skep", newSystem(t, Options{}))
	d.prepare(t)
	asked := 0
	life := func() Life { asked++; return Open }
	spec := socket.Spec{Protocol: socket.UDP, Local: netip.MustParseAddrPort("127.0.0.1:9")}
	if _, e := d.sys.sockets.number(&d.sys.m.Sockets, &spec, 1, life); e != 0 {
		t.Fatal(e)
	}
	array := mapCreate{MapType: uint32(catalog.MapArray), KeySize: 4, ValueSize: 4, MaxEntries: 1}
	inner := d.must(t, "inner", MapCreate, raw(array))
	for typ, want := range map[catalog.MapType]int{
		catalog.MapArray: 0, catalog.MapHash: 0, catalog.MapUnspec: 0, catalog.MapSockMap: 1, catalog.MapSockHash: 1,
		catalog.MapReuseportSockarray: 1, catalog.MapArrayOfMaps: 1, catalog.MapProgArray: 1, catalog.MapDevMap: 1,
	} {
		prog := d.must(t, "prog", ProgLoad, raw(d.load(catalog.ProgXDP)))
		if typ != catalog.MapUnspec {
			a := array
			a.MapType, a.InnerMapFd = uint32(typ), 0
			if typ == catalog.MapArrayOfMaps {
				a.InnerMapFd = inner
			}
			m := d.must(t, typ.String(), MapCreate, raw(a))
			d.must(t, "bind", ProgBindMap, raw(progBindMap{ProgFd: prog, MapFd: m}))
		}
		asked = 0
		d.must(t, "run", ProgTestRun, raw(testRun{ProgFd: prog, DataIn: d.addr(atData), DataSizeIn: 34}))
		if asked != want {
			t.Errorf("with a map of type %s: asked %d times, want %d", typ, asked, want)
		}
	}
}
