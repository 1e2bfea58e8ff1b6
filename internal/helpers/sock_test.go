package helpers

import (
	"encoding/binary"
	"fmt"
	"slices"
	"testing"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/mem"
	"github.com/skep-bpf/skep/internal/socket"
)

// What helpers tell of a packet's socket and its cgroup.
func TestSocketOfPacket(t *testing.T) {
	e, h := env(t)
	e.Pkt = h.newPacket(t)
	h.process.ClassID = 7
	set := func(s *socket.Sock) {
		e.Pkt.Sock = 0
		if s != nil {
			b := newScratch(t, socket.SockSize)
			*(*socket.Sock)(mem.Ptr(b.Addr())) = *s
			e.Pkt.Sock = b.Addr()
		}
	}
	ask := func(ids ...catalog.HelperID) (answers []uint64) {
		for _, id := range ids {
			answers = append(answers, e.do(id))
		}
		return answers
	}
	ids := []catalog.HelperID{catalog.FnGetSocketCookie, catalog.FnGetSocketUid, catalog.FnSKBCGroupID, catalog.FnSKBCGroupClassid, catalog.FnGetCGroupClassid}
	for name, c := range map[string]struct {
		sock *socket.Sock
		want []uint64
	}{
		"none":       {nil, []uint64{0, overflowUID, 0, 0, 7}},
		"a full one": {&socket.Sock{State: socket.TCPClose, Cookie: 5, UID: 1000, CGroupID: 99, ClassID: 3}, []uint64{5, 1000, 99, 3, 3}},
		"unclassed":  {&socket.Sock{State: socket.TCPClose, Cookie: 5}, []uint64{5, 0, 0, 0, 7}},
		"time-wait":  {&socket.Sock{State: socket.TCPTimeWait, Cookie: 5, UID: 1000, CGroupID: 99, ClassID: 3}, []uint64{5, overflowUID, 0, 0, 7}},
	} {
		set(c.sock)
		if got := ask(ids...); !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
	set(&socket.Sock{State: socket.TCPClose, CGroupID: 99})
	want(t, "sk_cgroup_id", e.do(catalog.FnSkCGroupID, e.Pkt.Sock), 99)
	groups := h.newMap(t, catalog.MapDef{Name: "a", Type: catalog.MapCGroupArray, KeySize: 4, ValueSize: 4, MaxEntries: 2})
	a := groups.Def().Ptr
	want(t, "skb_under_cgroup", e.do(catalog.FnSKBUnderCGroup, 0, a, 1), errno.EAGAIN.Ret())
	want(t, "skb_under_cgroup beyond", e.do(catalog.FnSKBUnderCGroup, 0, a, 2), errno.E2BIG.Ret())
	for group, under := range map[uint32]uint64{99: 1, 98: 0, 1: 1} {
		if err := groups.Update([]byte{0, 0, 0, 0}, binary.NativeEndian.AppendUint32(nil, group), 0); err != nil {
			t.Fatal(err)
		}
		want(t, fmt.Sprint("skb_under_cgroup ", group), e.do(catalog.FnSKBUnderCGroup, 0, a, 0), under)
	}
	h.groups = map[uint64]uint64{1: 0, 50: 1, 99: 50, 7: 0}
	for group, under := range map[uint32]uint64{99: 1, 98: 0, 50: 1, 1: 1, 7: 0} {
		if err := groups.Update([]byte{0, 0, 0, 0}, binary.NativeEndian.AppendUint32(nil, group), 0); err != nil {
			t.Fatal(err)
		}
		want(t, fmt.Sprint("skb_under_cgroup of those above: ", group), e.do(catalog.FnSKBUnderCGroup, 0, a, 0), under)
	}
	for level, id := range map[int32]uint64{-1: 0, 0: 1, 1: 50, 2: 99, 3: 0} {
		want(t, fmt.Sprint("sk_ancestor_cgroup_id ", level), e.do(catalog.FnSkAncestorCGroupID, e.Pkt.Sock, uint64(uint32(level))), id)
		want(t, fmt.Sprint("skb_ancestor_cgroup_id ", level), e.do(catalog.FnSKBAncestorCGroupID, 0, uint64(uint32(level))), id)
	}
	set(&socket.Sock{State: socket.TCPClose, CGroupID: 98})
	want(t, "the root above a group that is told of", e.do(catalog.FnSKBAncestorCGroupID, 0, 0), 1)
	want(t, "what else is above it", e.do(catalog.FnSKBAncestorCGroupID, 0, 1), 0)
	set(nil)
	want(t, "skb_ancestor_cgroup_id without socket", e.do(catalog.FnSKBAncestorCGroupID, 0, 0), 0)
	want(t, "skb_under_cgroup without socket", e.do(catalog.FnSKBUnderCGroup, 0, a, 1), errno.ENOENT.Ret())
}
