package helpers

import (
	"testing"

	"github.com/cilium/ebpf/btf"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/mem"
	"github.com/skep-bpf/skep/internal/socket"
)

// testKernelSock is a tcp_sock of a test's.
type testKernelSock struct {
	s    *socket.Socket
	acks []uint32
}

func (k *testKernelSock) Socket() *socket.Socket { return k.s }
func (k *testKernelSock) SendAck(rcvNxt uint32)  { k.acks = append(k.acks, rcvNxt) }
func (k *testKernelSock) SetOption(level, name int32, value []byte) errno.Errno {
	return k.s.SetOption(level, name, value)
}

// Helpers that programs of struct_ops hand a tcp_sock find the socket behind it, and of one that is only memory nothing.
func TestHelpersOfKernelSocks(t *testing.T) {
	h := newTestHost(t)
	k := &testKernelSock{s: h.newSocket(t, socket.Spec{Protocol: socket.TCP})}
	sk, other, value := newScratch(t, 64), newScratch(t, 64), newScratch(t, 4)
	h.kernel = map[uint64]KernelSock{sk.Addr(): k}
	typ := &btf.Int{Name: "int", Size: 4, Encoding: btf.Signed}
	m := h.newMap(t, catalog.MapDef{
		Name: "s", Type: catalog.MapSkStorage, KeySize: 4, ValueSize: 4, Flags: catalog.FlagNoPrealloc, Key: typ, Value: typ,
	}).Def().Ptr
	e := &Env{Host: h, Prog: &Prog{Type: catalog.ProgStructOps}}
	call := func(id catalog.HelperID, args ...uint64) uint64 {
		var r [5]uint64
		copy(r[:], args)
		return Table[id](e, r[0], r[1], r[2], r[3], r[4])
	}
	const nodelay = 1
	mem.Store32(value.Addr(), 5)
	option := []uint64{socket.SolTCP, nodelay, value.Addr(), 4}
	if got := call(catalog.FnSetsockopt, append([]uint64{sk.Addr()}, option...)...); got != 0 {
		t.Errorf("bpf_setsockopt: %#x", got)
	}
	if got := call(catalog.FnGetsockopt, append([]uint64{sk.Addr()}, option...)...); got != 0 || mem.Load32(value.Addr()) != 1 {
		t.Errorf("bpf_getsockopt: %#x, %d", got, mem.Load32(value.Addr()))
	}
	at := call(catalog.FnSkStorageGet, m, sk.Addr(), 0, storageCreate)
	if at == 0 || call(catalog.FnSkStorageGet, m, sk.Addr()) != at {
		t.Error("bpf_sk_storage_get: there is no value, or another one")
	}
	for _, want := range []uint64{0, errno.ENOENT.Ret()} {
		if got := call(catalog.FnSkStorageDelete, m, sk.Addr()); got != want {
			t.Errorf("bpf_sk_storage_delete: %#x, want %#x", got, want)
		}
	}
	if got := call(catalog.FnTcpSendAck, sk.Addr(), 1<<32+9); got != 0 || len(k.acks) != 1 || k.acks[0] != 9 {
		t.Errorf("bpf_tcp_send_ack: %#x, sent were %v", got, k.acks)
	}
	for id, want := range map[catalog.HelperID]uint64{catalog.FnSetsockopt: errno.EINVAL.Ret(), catalog.FnGetsockopt: errno.EINVAL.Ret(), catalog.FnTcpSendAck: 0} {
		if got := call(id, append([]uint64{other.Addr()}, option...)...); got != want {
			t.Errorf("helper %d of memory: %#x, want %#x", id, got, want)
		}
	}
	if call(catalog.FnSkStorageGet, m, other.Addr(), 0, storageCreate) != 0 || call(catalog.FnSkStorageDelete, m, other.Addr()) != errno.ENOENT.Ret() {
		t.Error("memory has a storage")
	}
}
