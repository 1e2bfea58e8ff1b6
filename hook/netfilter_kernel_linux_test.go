package hook_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/cilium/ebpf/btf"

	"github.com/skep-bpf/skep"
	"github.com/skep-bpf/skep/image"
	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/kstruct"
	"github.com/skep-bpf/skep/internal/linux"
	"github.com/skep-bpf/skep/internal/oracle"
	"github.com/skep-bpf/skep/internal/testprog"
)

// walk is the text of a program that notes what it finds along paths: "skb.dev->ifindex". A "?" at the end asks only
// whether there is something. R6 and R8 are its context's state and skb.
type walk struct {
	strings.Builder
	types *btf.Spec
	at    int // in the map's value
}

func (w *walk) note(path string) {
	path, any := strings.CutSuffix(path, "?")
	name, path, _ := strings.Cut(path, ".")
	in, reg := "sk_buff", "r8"
	if name == "state" {
		in, reg = "nf_hook_state", "r6"
	}
	load := ""
	for _, hop := range strings.Split(path, "->") {
		s := kstruct.New(w.types, in, make([]byte, 1<<14), 0)
		f := s.Field(hop)
		if size := min(len(f), 8); size != 0 {
			load += fmt.Sprintf("r1 = *(u%d *)(%s + %d)\n", 8*size, reg, cap(s.Bytes)-cap(f))
		} else { // a bit field: the byte in which it is
			f = s.Field("__pkt_type_offset")
			load += fmt.Sprintf("r1 = *(u8 *)(%s + %d)\nr1 &= 7\n", reg, cap(s.Bytes)-cap(f))
		}
		in, reg = "net_device", "r1"
	}
	if any {
		load += "if r1 == 0 goto +1\nr1 = 1\n"
	}
	fmt.Fprintf(w, "%s*(u64 *)(r7 + %d) = r1\n", load, w.at)
	w.at += 8
}

// hookPaths is what netfilter programs find of a packet.
var hookPaths = []string{"state.hook", "state.pf", "state.in?", "state.out?", "state.sk?", "state.net?", "state.okfn?",
	"state.in->ifindex", "state.out->ifindex", "state.out->name",
	"skb.dev?", "skb.dev->ifindex", "skb.dev->name", "skb.sk?", "skb.len", "skb.data_len", "skb.mac_len", "skb.protocol", "skb.pkt_type", "skb.mark",
	"skb.priority", "skb.skb_iif", "skb.hash", "skb.queue_mapping", "skb.vlan_proto", "skb.vlan_tci", "skb.tstamp",
	"skb.mac_header", "skb.network_header", "skb.transport_header", "skb.tail", "skb.head?", "skb.data?", "skb.cb", "skb.inner_protocol"}

// netfilterLook is a program that notes all of these, the rest of the state and the device beside the packet, and where data begins.
func netfilterLook(types *btf.Spec) (text string, size uint32) {
	w := walk{types: types}
	w.WriteString(`
r9 = r1
*(u32 *)(r10 - 4) = 0
r2 = r10
r2 += -4
r1 = map_idx[0] ll
call map_lookup_elem
r7 = r0
r0 = 0
if r7 == 0 goto out
r6 = *(u64 *)(r9 + 0)
r8 = *(u64 *)(r9 + 8)
`)
	for _, p := range hookPaths {
		w.note(p)
	}
	at := func(name, path string) int {
		s := kstruct.New(types, name, make([]byte, 1<<12), 0)
		return cap(s.Bytes) - cap(s.Field(path))
	}
	// The headroom, and whether the device is the same.
	fmt.Fprintf(&w, `
r1 = *(u64 *)(r8 + %d)
r2 = *(u64 *)(r8 + %d)
r1 -= r2
*(u64 *)(r7 + %d) = r1
r1 = *(u64 *)(r8 + %d)
r2 = *(u64 *)(r6 + %d)
r3 = 1
if r1 == r2 goto +1
r3 = 0
*(u64 *)(r7 + %d) = r3
r0 = 1
out:
exit`, at("sk_buff", "data"), at("sk_buff", "head"), w.at, at("sk_buff", "dev"), at("nf_hook_state", "out"), w.at+8)
	return w.String(), uint32(w.at + 16)
}

// TestNetfilterAgainstKernel has test runs of the kernel's and ours show the same packets to a program that looks around.
func TestNetfilterAgainstKernel(t *testing.T) {
	oracle.Need(t, "bpf(2)", linux.Available())
	types, err := btf.LoadKernelSpec()
	oracle.Need(t, "the kernel's types", err)
	text, size := netfilterLook(types)
	maps := []*image.Map{{Name: "m", KernelName: "m", Type: catalog.MapArray, KeySize: 4, ValueSize: size, MaxEntries: 1}}
	p := testprog.Prog{Name: "p", Type: catalog.ProgNetfilter, Attach: catalog.AttachNetfilter, Text: text}
	kprog, kmaps := kernelProg(t, testprog.Image(t, maps, p), "p")
	net := skep.NewStaticNet()
	net.AddDevice(skep.Device{Ifindex: 1, Name: "lo", MTU: 65536, Up: true})
	m, err := skep.NewMachine(&skep.MachineOptions{Checked: engine.Checked, JIT: engine.JIT, Net: net})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	coll, err := m.LoadCollection(testprog.Image(t, maps, p))
	if err != nil {
		t.Fatalf("%+v", err)
	}
	defer coll.Close()

	key := make([]byte, 4)
	runs := 0
	compare := func(what string, data []byte, ctx any) {
		t.Helper()
		var raw []byte
		if s, ok := ctx.(skep.NFHookState); ok {
			raw, _ = binary.Append(nil, binary.NativeEndian, s)
		} else if ctx != nil {
			raw = ctx.([]byte)
		}
		kout, kerr := kprog.TestRun(&linux.Run{Data: data, Ctx: slices.Clone(raw), CtxRoom: 48})
		opts := skep.RunOptions{Data: data, DataOut: make([]byte, 64), Context: ctx}
		ret, err := coll.Programs["p"].Run(&opts)
		var e, ke skep.Errno
		errors.As(err, &e)
		errors.As(kerr, &ke)
		if e != ke || (err == nil) != (kerr == nil) || err == nil && (ret != kout.Ret || len(opts.DataOut) != len(kout.Data)) {
			t.Errorf("%s: %d, %d bytes, %v, kernel says %+v %v", what, ret, len(opts.DataOut), err, kout, kerr)
		}
		if err != nil || kerr != nil {
			return
		}
		runs++
		seen, kseen := make([]byte, size), make([]byte, size)
		if err := errors.Join(coll.Maps["m"].Lookup(key, &seen), kmaps[0].Lookup(key, kseen, 0)); err != nil {
			t.Fatal(err)
		}
		for i, path := range append(slices.Clone(hookPaths), "headroom", "skb.dev == state.out") {
			if a, b := binary.NativeEndian.Uint64(seen[8*i:]), binary.NativeEndian.Uint64(kseen[8*i:]); a != b {
				t.Errorf("%s: %s is %#x, the kernel's %#x", what, path, a, b)
			}
		}
	}
	frame := func(size int, proto uint16, dst byte) []byte {
		b := make([]byte, size)
		for i := range b {
			b[i] = byte(i)
		}
		for i := range 6 {
			b[i] = dst
		}
		binary.BigEndian.PutUint16(b[12:], proto)
		return b
	}
	for _, size := range []int{19, 20, 33, 34, 53, 54, 60, 1500, 3712, 3713} {
		compare(fmt.Sprintf("%d bytes", size), frame(size, 0x800, 0), nil)
		for hook := range uint8(7) {
			for _, pf := range []uint8{0, 1, 2, 3, 10} {
				for _, proto := range []uint16{0x800, 0x86dd, 0x806, 5} {
					what := fmt.Sprintf("%d bytes of %#04x at hook %d of %d", size, proto, hook, pf)
					compare(what, frame(size, proto, 0), skep.NFHookState{Hook: hook, PF: pf})
				}
			}
		}
	}
	for _, dst := range []byte{1, 2, 0xff} {
		compare(fmt.Sprintf("to %x", dst), frame(60, 0x800, dst), skep.NFHookState{Hook: 1, PF: 2})
	}
	if runs < 100 {
		t.Errorf("%d runs succeeded", runs)
	}
	ctx := make([]byte, 48)
	for i := range ctx {
		ctx[1] = 2
		ctx[i]++
		compare(fmt.Sprintf("context with byte %d", i), frame(64, 0x800, 0), slices.Clone(ctx))
		clear(ctx)
	}
	compare("short context", frame(64, 0x800, 0), []byte{3, 10})
	compare("long context", frame(64, 0x800, 0), append([]byte{3, 10}, make([]byte, 80)...))
	compare("longer context", frame(64, 0x800, 0), append(append([]byte{3, 10}, make([]byte, 50)...), 1))
}
