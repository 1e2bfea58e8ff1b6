//go:build linux

package skeptest_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/link"
	"github.com/cilium/ebpf/ringbuf"

	"github.com/skep-bpf/skep/skeptest"
)

// Root gives itself up first: the tests are of what nobody can do.
func TestMain(m *testing.M) {
	if os.Getuid() != 0 {
		skeptest.Main(m)
	}
	// go test's own files are root's.
	args := slices.DeleteFunc(slices.Clone(os.Args[1:]), func(a string) bool { return strings.HasPrefix(a, "-test.testlogfile") })
	cmd := exec.Command("/proc/self/exe", args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	err := cmd.Run()
	if err != nil && cmd.ProcessState == nil {
		panic(err)
	}
	os.Exit(cmd.ProcessState.ExitCode())
}

func newMap(t *testing.T, spec *ebpf.MapSpec) *ebpf.Map {
	t.Helper()
	m, err := ebpf.NewMap(spec)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	return m
}

func newProg(t *testing.T, spec *ebpf.ProgramSpec) *ebpf.Program {
	t.Helper()
	p, err := ebpf.NewProgram(spec)
	if err != nil {
		t.Fatalf("%+v", err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}

func TestWhoWeAre(t *testing.T) {
	if os.Getuid() == 0 {
		t.Error("the tests run as root")
	}
	m := newMap(t, &ebpf.MapSpec{Name: "first", Type: ebpf.Array, KeySize: 4, ValueSize: 4, MaxEntries: 1})
	info, err := m.Info()
	if err != nil {
		t.Fatal(err)
	}
	if id, _ := info.ID(); id > 1000 || info.Name != "first" {
		t.Errorf("map %q has id %d: is this the kernel's?", info.Name, id)
	}
}

func TestMaps(t *testing.T) {
	m := newMap(t, &ebpf.MapSpec{Type: ebpf.Hash, KeySize: 4, ValueSize: 8, MaxEntries: 20000})
	var wg sync.WaitGroup
	for g := range uint32(8) {
		wg.Go(func() {
			for i := range uint32(500) {
				k, v := g*1000+i, uint64(0)
				if err := m.Update(k, uint64(k)*7, ebpf.UpdateNoExist); err != nil {
					t.Error(err)
				}
				if err := m.Lookup(k, &v); err != nil || v != uint64(k)*7 {
					t.Error(k, v, err)
				}
			}
		})
	}
	wg.Wait()
	n := 0
	var k uint32
	var v uint64
	it := m.Iterate()
	for it.Next(&k, &v) {
		n++
	}
	if it.Err() != nil || n != 4000 {
		t.Errorf("%d entries, %v", n, it.Err())
	}
	if err := m.Update(uint32(1), uint64(0), ebpf.UpdateNoExist); !errors.Is(err, ebpf.ErrKeyExist) {
		t.Error(err)
	}
	keys, values := make([]uint32, 5000), make([]uint64, 5000)
	var cursor ebpf.MapBatchCursor
	n, err := m.BatchLookup(&cursor, keys, values, nil)
	if n != 4000 || !errors.Is(err, ebpf.ErrKeyNotExist) {
		t.Error(n, err)
	}
	per := newMap(t, &ebpf.MapSpec{Type: ebpf.PerCPUArray, KeySize: 4, ValueSize: 4, MaxEntries: 1})
	all := make([]uint32, ebpf.MustPossibleCPU())
	for i := range all {
		all[i] = uint32(i) + 1
	}
	if err := per.Put(uint32(0), all); err != nil {
		t.Fatal(err)
	}
	var back []uint32
	if err := per.Lookup(uint32(0), &back); err != nil || !slices.Equal(all, back) {
		t.Error(back, err)
	}
}

// A closed object is gone when the next call is made; a duplicated one is not.
func TestLastClose(t *testing.T) {
	m := newMap(t, &ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: 4, MaxEntries: 1})
	info, _ := m.Info()
	id, _ := info.ID()
	dup, err := m.Clone()
	if err != nil {
		t.Fatal(err)
	}
	m.Close()
	again, err := ebpf.NewMapFromID(id)
	if err != nil {
		t.Fatal(err)
	}
	again.Close()
	dup.Close()
	if _, err := ebpf.NewMapFromID(id); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("map %d after its last close: %v", id, err)
	}
}

// A map mapped into memory: what a program writes is seen without a call.
func TestMmap(t *testing.T) {
	m := newMap(t, &ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: 8, MaxEntries: 1, Flags: 1 << 10})
	mm, err := m.Memory()
	if err != nil {
		t.Fatal(err)
	}
	p := newProg(t, &ebpf.ProgramSpec{Type: ebpf.SocketFilter, License: "GPL", Instructions: asm.Instructions{
		asm.LoadMapValue(asm.R1, m.FD(), 0),
		asm.LoadImm(asm.R2, 0x1122334455667788, asm.DWord),
		asm.StoreMem(asm.R1, 0, asm.R2, asm.DWord),
		asm.Mov.Imm(asm.R0, 0), asm.Return(),
	}})
	if _, _, err := p.Test(make([]byte, 64)); err != nil {
		t.Fatal(err)
	}
	var b [8]byte
	if _, err := mm.ReadAt(b[:], 0); err != nil || binary.NativeEndian.Uint64(b[:]) != 0x1122334455667788 {
		t.Error(b, err)
	}
	if _, err := mm.WriteAt([]byte{7}, 0); err != nil {
		t.Fatal(err)
	}
	var v uint64
	if err := m.Lookup(uint32(0), &v); err != nil || v != 0x1122334455667707 {
		t.Error(v, err)
	}
}

func TestPins(t *testing.T) {
	dir := filepath.Join("/sys/fs/bpf", t.Name())
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	m := newMap(t, &ebpf.MapSpec{Name: "pinned", Type: ebpf.Hash, KeySize: 4, ValueSize: 4, MaxEntries: 4})
	path := filepath.Join(dir, "m")
	if err := m.Pin(path); err != nil {
		t.Fatal(err)
	}
	if err := m.Put(uint32(1), uint32(2)); err != nil {
		t.Fatal(err)
	}
	m.Close()
	got, err := ebpf.LoadPinnedMap(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	var v uint32
	if err := got.Lookup(uint32(1), &v); err != nil || v != 2 {
		t.Error(v, err)
	}
	info, _ := got.Info()
	id, _ := info.ID()
	if err := got.Unpin(); err != nil {
		t.Fatal(err)
	}
	got.Close()
	if _, err := ebpf.LoadPinnedMap(path, nil); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
	if _, err := ebpf.NewMapFromID(id); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("map %d after its name and descriptors are gone: %v", id, err)
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Error(err)
	}
}

func TestVerifierSays(t *testing.T) {
	_, err := ebpf.NewProgram(&ebpf.ProgramSpec{Type: ebpf.XDP, License: "GPL", Instructions: asm.Instructions{
		asm.LoadMem(asm.R0, asm.R1, 4096, asm.Word), asm.Return(),
	}})
	var ve *ebpf.VerifierError
	if !errors.As(err, &ve) || !strings.Contains(ve.Error(), "invalid bpf_context access off=4096 size=4") {
		t.Errorf("%+v", err)
	}
}

// An object clang built: loaded, run on a packet, its maps read.
func TestObject(t *testing.T) {
	spec, err := ebpf.LoadCollectionSpec("../examples/firewall/firewall.o")
	if err != nil {
		t.Fatal(err)
	}
	coll, err := ebpf.NewCollection(spec)
	if err != nil {
		t.Fatalf("%+v", err)
	}
	defer coll.Close()
	packet := make([]byte, 64)
	packet[12], packet[13] = 8, 0
	packet[14] = 0x45
	ret, _, err := coll.Programs["firewall"].Test(packet)
	if err != nil {
		t.Fatal(err)
	}
	info, err := coll.Programs["firewall"].Info()
	if err != nil {
		t.Fatal(err)
	}
	insns, err := info.Instructions()
	if err != nil || len(insns) < 50 {
		t.Errorf("%d instructions, %v", len(insns), err)
	}
	t.Logf("verdict %d, %d maps", ret, len(coll.Maps))
	if ids, ok := info.MapIDs(); !ok || len(ids) == 0 {
		t.Error("no map ids")
	}
}

// Records a program writes wake the reader; some lie across the ring's end.
func TestRingbuf(t *testing.T) {
	for name, write := range map[string]asm.Instructions{
		"output": {
			asm.Mov.Reg(asm.R2, asm.RFP), asm.Add.Imm(asm.R2, -40), asm.Mov.Imm(asm.R3, 40), asm.Mov.Imm(asm.R4, 0),
			asm.FnRingbufOutput.Call(), asm.Ja.Label("out"),
		},
		"reserve": {
			asm.Mov.Imm(asm.R2, 40), asm.Mov.Imm(asm.R3, 0), asm.FnRingbufReserve.Call(),
			asm.JNE.Imm(asm.R0, 0, "room"), asm.Mov.Imm(asm.R0, -11), asm.Ja.Label("out"),
			asm.LoadMem(asm.R1, asm.RFP, -40, asm.DWord).WithSymbol("room"), asm.StoreMem(asm.R0, 0, asm.R1, asm.DWord),
			asm.LoadMem(asm.R1, asm.RFP, -32, asm.DWord), asm.StoreMem(asm.R0, 8, asm.R1, asm.DWord),
			asm.LoadMem(asm.R1, asm.RFP, -24, asm.DWord), asm.StoreMem(asm.R0, 16, asm.R1, asm.DWord),
			asm.LoadMem(asm.R1, asm.RFP, -16, asm.DWord), asm.StoreMem(asm.R0, 24, asm.R1, asm.DWord),
			asm.LoadMem(asm.R1, asm.RFP, -8, asm.DWord), asm.StoreMem(asm.R0, 32, asm.R1, asm.DWord),
			asm.Mov.Reg(asm.R1, asm.R0), asm.Mov.Imm(asm.R2, 0), asm.FnRingbufSubmit.Call(), asm.Mov.Imm(asm.R0, 0),
		},
	} {
		t.Run(name, func(t *testing.T) { testRingbuf(t, write) })
	}
}

func testRingbuf(t *testing.T, write asm.Instructions) {
	events := newMap(t, &ebpf.MapSpec{Type: ebpf.RingBuf, MaxEntries: 4096})
	// The packet's first 40 bytes are the record.
	code := asm.Instructions{
		asm.Mov.Imm(asm.R2, 0), asm.Mov.Reg(asm.R3, asm.RFP), asm.Add.Imm(asm.R3, -40), asm.Mov.Imm(asm.R4, 40),
		asm.FnXdpLoadBytes.Call(),
		asm.JNE.Imm(asm.R0, 0, "out"),
		asm.LoadMapPtr(asm.R1, events.FD()),
	}
	code = append(append(code, write...), asm.Return().WithSymbol("out"))
	p := newProg(t, &ebpf.ProgramSpec{Type: ebpf.XDP, License: "GPL", Instructions: code})
	rd, err := ringbuf.NewReader(events)
	if err != nil {
		t.Fatal(err)
	}
	defer rd.Close()
	rd.SetDeadline(time.Now().Add(time.Minute))
	const records = 1000
	var writer sync.WaitGroup
	defer writer.Wait()
	writer.Go(func() {
		for i := range records {
			in := bytes.Repeat([]byte{byte(i)}, 60)
			binary.NativeEndian.PutUint32(in, uint32(i))
			for {
				ret, _, err := p.Test(in)
				if err != nil {
					t.Error(err)
					return
				}
				if ret == 0 {
					break
				} // no room until the reader has taken some
			}
		}
	})
	for i := range records {
		rec, err := rd.Read()
		if err != nil {
			t.Fatal(i, err)
		}
		if n := binary.NativeEndian.Uint32(rec.RawSample); int(n) != i || rec.RawSample[39] != byte(i) {
			t.Fatalf("record %d is number %d: % x", i, n, rec.RawSample)
		}
	}
}

func TestLinks(t *testing.T) {
	p := newProg(t, &ebpf.ProgramSpec{Type: ebpf.XDP, License: "GPL", Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 2), asm.Return()}})
	l, err := link.AttachXDP(link.XDPOptions{Program: p, Interface: 1})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := link.AttachXDP(link.XDPOptions{Program: p, Interface: 1}); !errors.Is(err, syscall.EBUSY) {
		t.Errorf("a second program on one device: %v", err)
	}
	info, err := l.Info()
	if err != nil || info.XDP().Ifindex != 1 {
		t.Errorf("%+v, %v", info, err)
	}
	l.Close()
	if l, err = link.AttachXDP(link.XDPOptions{Program: p, Interface: 1}); err != nil {
		t.Fatal(err)
	}
	l.Close()
}

func TestTypes(t *testing.T) {
	spec := &ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: 4, MaxEntries: 1,
		Key: &btf.Int{Name: "k", Size: 4}, Value: &btf.Int{Name: "v", Size: 4}}
	m := newMap(t, spec)
	h, err := m.Handle()
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	types, err := h.Spec(nil)
	if err != nil {
		t.Fatal(err)
	}
	var v *btf.Int
	if err := types.TypeByName("v", &v); err != nil || v.Size != 4 {
		t.Error(v, err)
	}
}
