package hook_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"github.com/skep-bpf/skep"
	"github.com/skep-bpf/skep/hook"
	"github.com/skep-bpf/skep/image"
	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/kstruct"
	"github.com/skep-bpf/skep/internal/linux"
	"github.com/skep-bpf/skep/internal/oracle"
	"github.com/skep-bpf/skep/internal/oracle/netns"
	"github.com/skep-bpf/skep/internal/testprog"
	"github.com/skep-bpf/skep/isa"
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

// netfilterLook is a program that notes all of these in an element of the map, with where data begins and whether the packet's device is
// the one it goes out by, and returns 1.
func netfilterLook(types *btf.Spec, element int) (text string, size uint32) {
	w := walk{types: types}
	fmt.Fprintf(&w, "r9 = r1\n*(u32 *)(r10 - 4) = %d\n", element)
	w.WriteString(`
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
	text, size := netfilterLook(types, 0)
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
		for at := range uint8(7) {
			for _, pf := range []uint8{0, 1, 2, 3, 10} {
				for _, proto := range []uint16{0x800, 0x86dd, 0x806, 5} {
					what := fmt.Sprintf("%d bytes of %#04x at hook %d of %d", size, proto, at, pf)
					compare(what, frame(size, proto, 0), skep.NFHookState{Hook: at, PF: pf})
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

// ownAffairs are members that depend on what a kernel has besides packets: sockets, times, room in buffers.
var ownAffairs = map[string]bool{"state.sk?": true, "state.net?": true, "state.okfn?": true, "skb.sk?": true, "skb.hash": true, "skb.queue_mapping": true,
	"skb.tstamp": true, "skb.mac_header": true, "skb.network_header": true, "skb.transport_header": true, "skb.tail": true, "skb.cb": true, "skb.inner_protocol": true, "headroom": true}

// TestNetfilterHooksAgainstKernel sends a datagram from a host to itself past programs at all hooks on its way, the kernel's and ours.
func TestNetfilterHooksAgainstKernel(t *testing.T) {
	oracle.Need(t, "bpf(2)", linux.Available())
	types, err := btf.LoadKernelSpec()
	oracle.Need(t, "the kernel's types", err)
	netns.Enter(t)
	netns.IP(t, "link set lo up")

	way := []hook.NetfilterHook{hook.NetfilterLocalOut, hook.NetfilterPostRouting, hook.NetfilterPreRouting, hook.NetfilterLocalIn}
	var progs []testprog.Prog
	var size uint32
	for _, at := range way {
		var text string
		text, size = netfilterLook(types, int(at))
		progs = append(progs, testprog.Prog{Name: at.String(), Type: catalog.ProgNetfilter, Attach: catalog.AttachNetfilter, Text: text})
	}
	maps := []*image.Map{{Name: "m", KernelName: "m", Type: catalog.MapArray, KeySize: 4, ValueSize: size, MaxEntries: 5}}
	net := skep.NewStaticNet()
	net.AddDevice(skep.Device{Ifindex: 1, Name: "lo", MTU: 65536, Up: true})
	m, err := skep.NewMachine(&skep.MachineOptions{Checked: engine.Checked, JIT: engine.JIT, Net: net})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	coll, err := m.LoadCollection(testprog.Image(t, maps, progs...))
	if err != nil {
		t.Fatalf("%+v", err)
	}
	defer coll.Close()
	h := hook.NewNetfilter(m)
	kmaps := map[hook.NetfilterHook]*linux.Map{}
	for _, at := range way {
		if _, err := h.Attach(coll.Programs[at.String()], hook.NetfilterPlace{Family: hook.NetfilterIPv4, Hook: at, Priority: 7}); err != nil {
			t.Fatal(err)
		}
		kprog, km := kernelProg(t, testprog.Image(t, maps, progs...), at.String())
		kmaps[at] = km[0]
		fd, err := unix.Dup(kprog.FD())
		if err != nil {
			t.Fatal(err)
		}
		p, err := ebpf.NewProgramFromFD(fd)
		if err != nil {
			t.Fatal(err)
		}
		defer p.Close()
		l, err := link.AttachNetfilter(link.NetfilterOptions{Program: p, ProtocolFamily: link.NetfilterProtoIPv4, Hook: link.NetfilterInetHook(at), Priority: 7})
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
	}

	data := []byte("0123456789")
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(s)
	if err := unix.Bind(s, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	self, err := unix.Getsockname(s)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Sendto(s, data, 0, self); err != nil {
		t.Fatal(err)
	}
	if n, _, err := unix.Recvfrom(s, make([]byte, 20), 0); n != len(data) || err != nil { // it has passed all hooks then
		t.Fatal(n, err)
	}

	frame := append(make([]byte, 14), 0x45, 0, 0, 38, 0, 0, 0x40, 0, 64, 17, 0, 0, 127, 0, 0, 1, 127, 0, 0, 1, 0, 9, 0, 9, 0, 18, 0, 0)
	frame[12] = 8
	frame = append(frame, data...)
	sent, err := h.Send(frame[14:], hook.Meta{})
	if err != nil || !sent.Accepted {
		t.Fatal(sent, err)
	}
	got, err := h.Receive(frame, hook.Meta{})
	if err != nil || !got.Accepted {
		t.Fatal(got, err)
	}
	for _, at := range way {
		key := binary.NativeEndian.AppendUint32(nil, uint32(at))
		seen, kseen := make([]byte, size), make([]byte, size)
		if err := errors.Join(coll.Maps["m"].Lookup(key, &seen), kmaps[at].Lookup(key, kseen, 0)); err != nil {
			t.Fatal(err)
		}
		if kseen[0] != byte(at) || kseen[8] != 2 { // state.hook, state.pf
			t.Errorf("%v: the kernel's program did not run", at)
		}
		for i, path := range append(slices.Clone(hookPaths), "headroom", "skb.dev == state.out") {
			if a, b := binary.NativeEndian.Uint64(seen[8*i:]), binary.NativeEndian.Uint64(kseen[8*i:]); a != b && !ownAffairs[path] {
				t.Errorf("%v: %s is %#x, the kernel's %#x", at, path, a, b)
			}
		}
	}
}

// dynptrRead notes what reading eight bytes of the packet at an offset gives, and what writing them back does.
const dynptrRead = `
r6 = r1
*(u32 *)(r10 - 4) = 0
r2 = r10
r2 += -4
r1 = map_idx[0] ll
call map_lookup_elem
if r0 == 0 goto out
r7 = r0
r1 = *(u64 *)(r6 + 8)
r2 = 0
r3 = r10
r3 += -24
call bpf_dynptr_from_skb
*(u64 *)(r7 + 0) = r0
r1 = r7
r1 += 8
r2 = 8
r3 = r10
r3 += -24
r4 = OFFSET
r5 = 0
call dynptr_read
*(u64 *)(r7 + 16) = r0
r1 = r10
r1 += -24
r2 = OFFSET
r3 = r7
r3 += 8
r4 = 8
r5 = 0
call dynptr_write
*(u64 *)(r7 + 24) = r0
out:
r0 = 1
exit`

// TestNetfilterDynptrAgainstKernel reads packets by dynptrs, of the kernel's and of ours.
func TestNetfilterDynptrAgainstKernel(t *testing.T) {
	oracle.Need(t, "bpf(2)", linux.Available())
	types, err := btf.LoadKernelSpec()
	oracle.Need(t, "the kernel's types", err)
	symbols := isa.Symbols{
		Helper: func(name string) (int32, bool) {
			h := catalog.HelperByName(name)
			if h == nil {
				return 0, false
			}
			return int32(h.ID), true
		},
		Kfunc: func(name string) (int32, int16, bool) {
			var f *btf.Func
			if types.TypeByName(name, &f) != nil {
				return 0, 0, false
			}
			id, err := types.TypeID(f)
			return int32(id), 0, err == nil
		},
	}
	for _, at := range []string{"0", "12", "26", "27", "100"} {
		img := testprog.Image(t, []*image.Map{{Name: "m", KernelName: "m", Type: catalog.MapArray, KeySize: 4, ValueSize: 32, MaxEntries: 1}})
		insns, err := isa.Assemble("p", strings.ReplaceAll(dynptrRead, "OFFSET", at), symbols)
		if err != nil {
			t.Fatal(err)
		}
		img.Programs = append(img.Programs, &image.Program{Name: "p", Type: catalog.ProgNetfilter, Attach: catalog.AttachNetfilter, Insns: insns})
		kprog, kmaps := kernelProg(t, img, "p")
		m, err := skep.NewMachine(&skep.MachineOptions{Checked: engine.Checked, JIT: engine.JIT})
		if err != nil {
			t.Fatal(err)
		}
		defer m.Close()
		coll, err := m.LoadCollection(img)
		if err != nil {
			t.Fatalf("%+v", err)
		}
		defer coll.Close()
		data := []byte("0123456789ab\x08\x00EFGHIJKLMNOPQRSTUVWXYZ0123456789") // 34 from the network header on
		for _, state := range []skep.NFHookState{{Hook: 3, PF: 2}, {Hook: 1, PF: 2}} {
			raw, err := binary.Append(nil, binary.NativeEndian, state)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := kprog.TestRun(&linux.Run{Data: data, Ctx: raw}); err != nil {
				t.Fatal(err)
			}
			if _, err := coll.Programs["p"].Run(&skep.RunOptions{Data: data, Context: state}); err != nil {
				t.Fatal(err)
			}
			seen, kseen := make([]byte, 32), make([]byte, 32)
			if err := errors.Join(coll.Maps["m"].Lookup(make([]byte, 4), &seen), kmaps[0].Lookup(make([]byte, 4), kseen, 0)); err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(seen, kseen) {
				t.Errorf("at %s of hook %d: %q, the kernel's %q", at, state.Hook, seen, kseen)
			}
		}
	}
}
