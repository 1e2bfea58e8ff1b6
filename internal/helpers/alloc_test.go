package helpers

import (
	"encoding/binary"
	"net/netip"
	"testing"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/packet"
)

// What a packet's run calls again and again allocates nothing.
func TestNoAllocations(t *testing.T) {
	e, h := env(t)
	e.Pkt = h.newPacket(t)
	s := &script{prog: tc, pkt: tcp4}
	net := packet.NewStaticNet()
	net.AddDevice(packet.Device{Ifindex: 1, Up: true, MTU: 1500, Forward4: true})
	net.AddRoute(packet.Route{Dst: netip.MustParsePrefix("0.0.0.0/0"), Ifindex: 1})
	h.net = net
	if err := s.setUp(e.Pkt); err != nil {
		t.Fatal(err)
	}
	b := newScratch(t, 512)
	binary.NativeEndian.PutUint32(b.Bytes(), 0)
	copy(b.Bytes()[64:], "%d %x\x00")
	a := h.newMap(t, catalog.MapDef{Name: "a", Type: catalog.MapArray, KeySize: 4, ValueSize: 8, MaxEntries: 5}).Def().Ptr
	e.Call = func(_, _, _, _, _, _ uint64) uint64 { return 0 }
	e.do(catalog.FnForEachMapElem, a, 1, 0, 0)
	for name, f := range map[string]func(){
		"lookup":     func() { e.do(catalog.FnMapLookupElem, a, b.Addr()) },
		"load":       func() { e.do(catalog.FnSKBLoadBytes, 0, 14, b.Addr()+128, 20) },
		"store":      func() { e.do(catalog.FnSKBStoreBytes, 0, 14, b.Addr()+128, 20, 1) },
		"csum":       func() { e.do(catalog.FnL4CsumReplace, 0, 50, 1, 2, 0x14) },
		"vlan":       func() { e.do(catalog.FnSKBVlanPush, 0, 0x81, 5); e.do(catalog.FnSKBVlanPop) },
		"hash":       func() { e.do(catalog.FnSetHashInvalid); e.do(catalog.FnGetHashRecalc) },
		"redirect":   func() { e.do(catalog.FnRedirect, 1, 0) },
		"snprintf":   func() { e.do(catalog.FnSnprintf, b.Addr()+128, 64, b.Addr()+64, b.Addr()+256, 16) },
		"for each":   func() { e.do(catalog.FnForEachMapElem, a, 1, 0, 0) },
		"loop":       func() { e.do(catalog.FnLoop, 3, 1, 0, 0) },
		"fib":        func() { b.Bytes()[256], b.Bytes()[264] = 2, 1; e.do(catalog.FnFibLookup, 0, b.Addr()+256, 64, 0) },
		"set tunnel": func() { e.do(catalog.FnSKBSetTunnelKey, 0, b.Addr()+300, 44, 0) },
		"sk_lookup":  func() { e.do(catalog.FnSkLookupTcp, 0, b.Addr()+256, 12, ^uint64(0), 0) },
		"set up":     func() { s.setUp(e.Pkt) },
		"dynptr":     func() { e.do(catalog.FnDynptrFromMem, b.Addr()+400, 8, 0, b.Addr()+440) },
		"adjust room": func() {
			e.do(catalog.FnSKBAdjustRoom, 0, 8, 1, 0)
			e.do(catalog.FnSKBAdjustRoom, 0, errno.Errno(8).Ret(), 1, 0)
		},
	} {
		if n := testing.AllocsPerRun(100, f); n != 0 {
			t.Errorf("%s allocates %v times", name, n)
		}
	}
}
