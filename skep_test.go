package skep_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cilium/ebpf"

	"github.com/skep-bpf/skep"
	"github.com/skep-bpf/skep/image"
	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/oracle"
	"github.com/skep-bpf/skep/internal/testprog"
)

// engine is what the tests run programs on.
var engine skep.MachineOptions

func TestMain(m *testing.M) { os.Exit(testprog.EachEngine(m, &engine)) }

// machine makes a machine whose programs run on the engine of the day.
func machine(t testing.TB, o skep.MachineOptions) *skep.Machine {
	t.Helper()
	o.Checked, o.JIT = engine.Checked, engine.JIT
	m, err := skep.NewMachine(&o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	return m
}

func load(t testing.TB, m *skep.Machine, img *image.Image) *skep.Collection {
	t.Helper()
	coll, err := m.LoadCollection(img)
	if err != nil {
		t.Fatalf("%+v", err)
	}
	t.Cleanup(coll.Close)
	return coll
}

func arrayMap(name string, valueSize, entries uint32) *image.Map {
	return &image.Map{Name: name, Type: catalog.MapArray, KeySize: 4, ValueSize: valueSize, MaxEntries: entries}
}

// counter counts packets in slot 0 of map 0 and passes them.
const counter = `
	r1 = 0
	*(u32 *)(r10 - 4) = r1
	r2 = r10
	r2 += -4
	r1 = map_idx[0] ll
	call bpf_map_lookup_elem
	if r0 == 0 goto out
	r1 = 1
	lock *(u64 *)(r0 + 0) += r1
out:	r0 = 2
	exit
`

func TestProgramAndMap(t *testing.T) {
	m := machine(t, skep.MachineOptions{})
	coll := load(t, m, testprog.Image(t, []*image.Map{arrayMap("counts", 8, 2)},
		testprog.Prog{Name: "count", Type: catalog.ProgXDP, Text: counter}))
	in := make([]byte, 64)
	for range 3 {
		ret, out, err := coll.Programs["count"].Test(in)
		if err != nil || ret != 2 || len(out) != len(in) {
			t.Fatalf("Test: %d, %d bytes, %v; want 2, %d bytes", ret, len(out), err, len(in))
		}
	}
	var n uint64
	if err := coll.Maps["counts"].Lookup(uint32(0), &n); err != nil || n != 3 {
		t.Errorf("counted %d, %v; want 3", n, err)
	}
	if got := coll.Programs["count"].RunCount(); got != 3 {
		t.Errorf("RunCount %d, want 3", got)
	}
}

func TestConcurrentRunsCountEveryPacket(t *testing.T) {
	m, err := skep.NewMachine(&skep.MachineOptions{CPUs: 3})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	coll := load(t, m, testprog.Image(t, []*image.Map{arrayMap("counts", 8, 2)},
		testprog.Prog{Name: "count", Type: catalog.ProgXDP, Text: counter}))
	const goroutines, each = 8, 500
	var wg sync.WaitGroup
	for range goroutines {
		wg.Go(func() {
			for range each {
				if _, _, err := coll.Programs["count"].Test(make([]byte, 64)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	var n uint64
	if err := coll.Maps["counts"].Lookup(uint32(0), &n); err != nil || n != goroutines*each {
		t.Errorf("counted %d, %v; want %d", n, err, goroutines*each)
	}
}

func TestRefusedProgram(t *testing.T) {
	m := machine(t, skep.MachineOptions{})
	img := testprog.Image(t, nil,
		testprog.Prog{Name: "bad", Type: catalog.ProgXDP, Text: "r0 = *(u64 *)(r2 + 0)\nexit"},
		testprog.Prog{Name: "good", Type: catalog.ProgXDP, Text: "r0 = 2\nexit"})
	_, err := m.LoadCollection(img)
	var ve *skep.VerifierError
	if !errors.As(err, &ve) || ve.Errno.Name() != "EACCES" || ve.Slot != 0 {
		t.Fatalf("got %v; want a VerifierError, EACCES at insn 0", err)
	}
	if got := err.Error(); !strings.Contains(got, "program bad") || !strings.Contains(got, "R2 !read_ok") || strings.Contains(got, "\n") {
		t.Errorf("Error() = %q; want one line with program and reason", got)
	}
	coll, err := m.LoadCollectionWithOptions(img, skep.CollectionOptions{KeepGoing: true})
	if err != nil {
		t.Fatal(err)
	}
	defer coll.Close()
	if coll.Programs["good"] == nil || coll.Programs["bad"] != nil || coll.Refused["bad"] == nil {
		t.Errorf("KeepGoing: programs %v, refused %v", coll.Programs, coll.Refused)
	}
	if _, err := m.LoadCollectionWithOptions(img, skep.CollectionOptions{Programs: []string{"none"}}); err == nil {
		t.Error("a program that is not there was loaded")
	}
}

func TestMapErrorsAndIteration(t *testing.T) {
	m := machine(t, skep.MachineOptions{CPUs: 2})
	coll := load(t, m, testprog.Image(t, []*image.Map{
		{Name: "h", Type: catalog.MapHash, KeySize: 4, ValueSize: 8, MaxEntries: 2},
		{Name: "p", Type: catalog.MapPerCPUHash, KeySize: 4, ValueSize: 4, MaxEntries: 2},
	}))
	h, p := coll.Maps["h"], coll.Maps["p"]
	var v uint64
	if err := h.Lookup(uint32(1), &v); !errors.Is(err, skep.ErrKeyNotExist) {
		t.Errorf("Lookup of no key: %v", err)
	}
	if err := h.Update(uint32(1), uint64(10), skep.UpdateNoExist); err != nil {
		t.Error(err)
	}
	if err := h.Update(uint32(1), uint64(11), skep.UpdateNoExist); !errors.Is(err, skep.ErrKeyExist) {
		t.Errorf("NOEXIST over a key: %v", err)
	}
	if err := h.Put(uint32(2), uint64(20)); err != nil {
		t.Error(err)
	}
	if err := h.Put(uint32(3), uint64(30)); !errors.Is(err, skep.ErrMapFull) {
		t.Errorf("a third entry of two: %v", err)
	}
	if err := h.Put(uint64(1), uint64(1)); err == nil || !strings.Contains(err.Error(), "uint64 has 8 bytes, want 4") {
		t.Errorf("key of the wrong size: %v", err)
	}
	got := map[uint32]uint64{}
	it := h.Iterate()
	for k := uint32(0); it.Next(&k, &v); {
		got[k] = v
	}
	if want := (map[uint32]uint64{1: 10, 2: 20}); it.Err() != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("Iterate: %v, %v; want %v", got, it.Err(), want)
	}
	if err := p.Put(uint32(1), []uint32{7, 8}); err != nil {
		t.Error(err)
	}
	var per []uint32
	if err := p.Lookup(uint32(1), &per); err != nil || !reflect.DeepEqual(per, []uint32{7, 8}) {
		t.Errorf("per-CPU: %v, %v", per, err)
	}
	keys, values := make([]uint32, 4), make([]uint64, 4)
	var cur skep.MapBatchCursor
	n, err := h.BatchLookup(&cur, keys, values, nil)
	if n != 2 || !errors.Is(err, skep.ErrKeyNotExist) {
		t.Errorf("BatchLookup: %d, %v; want 2 and the end", n, err)
	}
	if n, err := h.BatchDelete([]uint32{1, 2}, nil); n != 2 || err != nil {
		t.Errorf("BatchDelete: %d, %v", n, err)
	}
}

// dice stores a random number and the time, then returns both folded.
const dice = `
	call bpf_get_prandom_u32
	r6 = r0
	call bpf_ktime_get_ns
	r0 ^= r6
	exit
`

func TestRunsRepeatBitForBit(t *testing.T) {
	seed := uint64(42)
	roll := func() (out []uint32) {
		m := machine(t, skep.MachineOptions{
			CPUs: 1, Seed: &seed, Clock: skep.NewManualClock(1e9, time.Unix(1700000000, 0)),
		})
		coll := load(t, m, testprog.Image(t, nil, testprog.Prog{Name: "dice", Type: catalog.ProgSchedCls, Text: dice}))
		for range 5 {
			ret, _, err := coll.Programs["dice"].Test(make([]byte, 64))
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, ret)
		}
		return out
	}
	a, b := roll(), roll()
	if !reflect.DeepEqual(a, b) || a[0] == a[1] {
		t.Errorf("two runs with one seed: %v and %v", a, b)
	}
}

func TestHeldCPUDoesNotAllocate(t *testing.T) {
	m, err := skep.NewMachine(&skep.MachineOptions{CPUs: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	coll := load(t, m, testprog.Image(t, []*image.Map{arrayMap("counts", 8, 2)},
		testprog.Prog{Name: "count", Type: catalog.ProgXDP, Text: counter}))
	prog, data := coll.Programs["count"], make([]byte, 64)
	c := m.AcquireCPU()
	defer c.Release()
	if n := testing.AllocsPerRun(100, func() {
		if err := c.Packet().SetXDP(data, skep.XDPOptions{}); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Run(prog); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations a packet", n)
	}
}

func TestContextInAndOut(t *testing.T) {
	m := machine(t, skep.MachineOptions{})
	coll := load(t, m, testprog.Image(t, nil, testprog.Prog{Name: "mark", Type: catalog.ProgSchedCls, Text: `
		r2 = *(u32 *)(r1 + 8)    # mark
		r2 += 1
		*(u32 *)(r1 + 8) = r2
		r0 = *(u32 *)(r1 + 48)   # cb[0]
		exit`}))
	prog := coll.Programs["mark"]
	out := skep.SKBuff{}
	ret, err := prog.Run(&skep.RunOptions{
		Data: make([]byte, 64), Context: &skep.SKBuff{Mark: 6, CB: [5]uint32{9}}, ContextOut: &out,
	})
	if err != nil || ret != 9 || out.Mark != 7 {
		t.Errorf("ret %d, mark %d, %v; want 9, 7", ret, out.Mark, err)
	}
	_, err = prog.Run(&skep.RunOptions{Data: make([]byte, 64), Context: &skep.SKBuff{Hash: 1}})
	var num skep.Errno
	if !errors.As(err, &num) || num.Name() != "EINVAL" {
		t.Errorf("a field that runs do not take: %v; want EINVAL", err)
	}
	_, err = prog.Run(&skep.RunOptions{Data: make([]byte, 64), DataOut: make([]byte, 8)})
	if !errors.As(err, &num) || num.Name() != "ENOSPC" {
		t.Errorf("short DataOut: %v; want ENOSPC", err)
	}
	if _, err = prog.Run(&skep.RunOptions{Data: make([]byte, 8)}); !errors.As(err, &num) || num.Name() != "EINVAL" {
		t.Errorf("packet of 8 bytes: %v; want EINVAL", err)
	}
}

func TestTrace(t *testing.T) {
	var lines []string
	m := machine(t, skep.MachineOptions{Trace: func(l skep.TraceLine) { lines = append(lines, l.Program+": "+l.Text) }})
	coll := load(t, m, testprog.Image(t, nil, testprog.Prog{Name: "say", Type: catalog.ProgXDP, Text: `
		r1 = 0x0a64253d78 ll     # "x=%d\n"
		*(u64 *)(r10 - 8) = r1
		r1 = r10
		r1 += -8
		r2 = 6
		r3 = 41
		call bpf_trace_printk
		r0 = 2
		exit`}))
	if _, _, err := coll.Programs["say"].Test(make([]byte, 64)); err != nil {
		t.Fatal(err)
	}
	if want := []string{"say: x=41"}; !reflect.DeepEqual(lines, want) {
		t.Errorf("traced %q, want %q", lines, want)
	}
}

// Objects read by cilium/ebpf and adapted are what our own loader makes of them.
func TestFromCollectionSpec(t *testing.T) {
	objects, _ := filepath.Glob("examples/*/*.o")
	if len(objects) == 0 {
		t.Fatal("no example objects")
	}
	for _, path := range objects {
		if strings.HasSuffix(path, "congestion.o") { // of which a CollectionSpec does not say all: TestOpsOfACollectionSpec
			continue
		}
		t.Run(filepath.Base(path), func(t *testing.T) {
			if filepath.Base(path) == "bpf_for.o" {
				oracle.DeclTags(t)
			}
			spec, err := ebpf.LoadCollectionSpec(path)
			if err != nil {
				t.Fatal(err)
			}
			got, err := skep.FromCollectionSpec(spec, nil)
			if err != nil {
				t.Fatal(err)
			}
			want, err := image.LoadFile(path, nil)
			if err != nil {
				t.Fatal(err)
			}
			for _, wp := range want.Programs {
				gp := got.Program(wp.Name)
				if gp == nil {
					t.Errorf("program %s is missing", wp.Name)
					continue
				}
				if gp.Type != wp.Type || gp.Attach != wp.Attach || len(gp.Insns) != len(wp.Insns) {
					t.Errorf("%s: type %v, attach %v, %d slots; want %v, %v, %d", wp.Name,
						gp.Type, gp.Attach, len(gp.Insns), wp.Type, wp.Attach, len(wp.Insns))
				}
				if len(gp.Lines) != len(wp.Lines) || len(gp.Funcs) != len(wp.Funcs) {
					t.Errorf("%s: %d lines, %d functions; want %d, %d", wp.Name,
						len(gp.Lines), len(gp.Funcs), len(wp.Lines), len(wp.Funcs))
				}
			}
			m := machine(t, skep.MachineOptions{})
			coll, err := m.LoadCollectionWithOptions(got, skep.CollectionOptions{KeepGoing: true})
			if err != nil {
				t.Fatal(err)
			}
			defer coll.Close()
			mine, err := m.LoadCollectionWithOptions(want, skep.CollectionOptions{KeepGoing: true})
			if err != nil {
				t.Fatal(err)
			}
			defer mine.Close()
			for name := range mine.Refused {
				if coll.Refused[name] == nil {
					t.Errorf("%s is refused from the object, not from the spec", name)
				}
			}
			for name, err := range coll.Refused {
				if mine.Refused[name] == nil {
					t.Errorf("%s: %v", name, err)
				}
			}
		})
	}
}

func TestVariablesOfASpec(t *testing.T) {
	spec, err := ebpf.LoadCollectionSpec("examples/firewall/firewall.o")
	if err != nil {
		t.Fatal(err)
	}
	if err := spec.Variables["closed_port"].Set(uint16(80)); err != nil {
		t.Fatal(err)
	}
	img, err := skep.FromCollectionSpec(spec, nil)
	if err != nil {
		t.Fatal(err)
	}
	data := img.Map(".rodata").Data
	v := spec.Variables["closed_port"]
	if got := binary.NativeEndian.Uint16(data[v.Offset:]); got != 80 {
		t.Errorf("closed_port is %d in the image, want 80", got)
	}
}

func ExampleMachine_LoadCollectionFile() {
	m, err := skep.NewMachine(nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer m.Close()
	coll, err := m.LoadCollectionFile("examples/firewall/firewall.o")
	if err != nil {
		fmt.Printf("%+v\n", err) // with the verifier's log
		return
	}
	defer coll.Close()

	// An IPv4 packet from 10.0.0.7, whose network is on the block list.
	packet := make([]byte, 64)
	copy(packet[12:], []byte{0x08, 0x00, 0x45, 0, 0, 50, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 7, 192, 0, 2, 1})
	type key4 struct {
		PrefixLen uint32
		Addr      [4]byte
	}
	if err := coll.Maps["block4"].Put(key4{8, [4]byte{10}}, uint32(5)); err != nil {
		fmt.Println(err)
		return
	}
	ret, _, err := coll.Programs["firewall"].Test(packet)
	fmt.Println(ret, err)
	// Output: 1 <nil>
}

func TestMemoryContext(t *testing.T) {
	m := machine(t, skep.MachineOptions{})
	coll := load(t, m, testprog.Image(t, nil, testprog.Prog{Name: "add", Type: catalog.ProgRawTracepoint, Text: `
		r0 = *(u64 *)(r1 + 0)
		r2 = *(u64 *)(r1 + 8)
		r0 += r2
		exit`}))
	prog := coll.Programs["add"]
	ret, err := prog.Run(&skep.RunOptions{Context: [2]uint64{40, 2}})
	if err != nil || ret != 42 {
		t.Errorf("got %d, %v; want 42", ret, err)
	}
	var num skep.Errno
	if _, err := prog.Run(&skep.RunOptions{Context: [1]uint64{40}}); !errors.As(err, &num) || num.Name() != "EINVAL" {
		t.Errorf("a context shorter than the program reads: %v; want EINVAL", err)
	}
}

// TestVerifyCompletesMaps has objects verified that leave sizes of maps to their loader.
func TestVerifyCompletesMaps(t *testing.T) {
	img := testprog.Image(t, []*image.Map{
		{Name: "events", Type: catalog.MapRingBuf},
		{Name: "orders", Type: catalog.MapUserRingBuf},
		{Name: "maps", Type: catalog.MapArrayOfMaps, KeySize: 4, ValueSize: 4, Inner: &image.Map{Name: "inner", Type: catalog.MapRingBuf}},
	}, testprog.Prog{Name: "pass", Type: catalog.ProgXDP, Text: "r0 = 2\nexit"})
	m := machine(t, skep.MachineOptions{})
	if _, err := m.LoadCollection(img); err == nil {
		t.Error("a ring buffer without size was made")
	}
	list, err := m.Verify(img)
	if err != nil || len(list) != 1 || list[0].Err != nil {
		t.Errorf("verified %v: %v; want one program accepted", list, err)
	}
}

func TestMapsTheLoaderCompletes(t *testing.T) {
	m := machine(t, skep.MachineOptions{CPUs: 3})
	coll := load(t, m, testprog.Image(t, []*image.Map{
		{Name: "optional", Type: catalog.MapStructOps, Optional: true},
		{Name: "events", Type: catalog.MapPerfEventArray, KeySize: 4, ValueSize: 4},
	}))
	if got := coll.Maps["events"].MaxEntries(); got != 3 {
		t.Errorf("a perf event array without size has %d entries, want one per CPU", got)
	}
	if coll.Maps["optional"] != nil {
		t.Error("an optional map was made unasked")
	}
	_, err := m.LoadCollection(testprog.Image(t, []*image.Map{{Name: "ops", Type: catalog.MapStructOps, KeySize: 4, ValueSize: 8, MaxEntries: 1}}))
	if !errors.Is(err, skep.ErrNotSupported) || !strings.Contains(err.Error(), "struct_ops") {
		t.Errorf("a map of a type skep lacks: %v", err)
	}
}
