package image

import (
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/cilium/ebpf/btf"

	"github.com/skep-bpf/skep/internal/catalog"
)

// number and typed are members as __uint and __type make them.
func number(name string, n uint32) btf.Member {
	return btf.Member{Name: name, Type: ptrTo(arrOf(tS32, n))}
}

func typed(name string, t btf.Type) btf.Member {
	return btf.Member{Name: name, Type: ptrTo(t)}
}

// TestBadMapDefinitions: every member that says nothing sensible is refused by name.
func TestBadMapDefinitions(t *testing.T) {
	pointers := func(to btf.Type) btf.Type { return arrOf(ptrTo(to), 0) }
	inner := &btf.Struct{Members: []btf.Member{number("type", 2)}}
	hash, outer, jumps := number("type", 1), number("type", 12), number("type", 3)
	for _, c := range []struct {
		members []btf.Member
		want    string
	}{
		{nil, "no type"},
		{[]btf.Member{{Name: "type", Type: tU32}}, `member type is Int:"unsigned int"[unsigned size=4], no pointer`},
		{[]btf.Member{typed("max_entries", tU32)}, `member max_entries points to Int:"unsigned int"[unsigned size=4], no array`},
		{[]btf.Member{hash, {Name: "key", Type: tU32}}, `member key is Int:"unsigned int"[unsigned size=4], no pointer`},
		{[]btf.Member{hash, typed("value", proto(tU32))}, `member value: FuncProto[args=0 return=Int:"unsigned int"] has no size`},
		{[]btf.Member{hash, number("key_size", 8), typed("key", tU32)}, "member key gives 4 bytes, an earlier one 8"},
		{[]btf.Member{hash, {Name: "map_extra", Type: tRed2}}, "member map_extra has 2 values"},
		{[]btf.Member{hash, number("colour", 2)}, `unknown member "colour"`},
		{[]btf.Member{hash, {Name: "values", Type: pointers(inner)}}, "member values in a map of type 1"},
		{[]btf.Member{outer, {Name: "values", Type: pointers(inner)}, number("max_entries", 1)}, "member values is not the last"},
		{[]btf.Member{outer, number("value_size", 8), {Name: "values", Type: pointers(inner)}}, "member values gives 4 bytes, an earlier one 8"},
		{[]btf.Member{outer, {Name: "values", Type: tU32}}, `member values is Int:"unsigned int"[unsigned size=4], no array of length 0`},
		{[]btf.Member{outer, {Name: "values", Type: arrOf(tU32, 0)}}, `member values has elements Int:"unsigned int"[unsigned size=4], no pointers`},
		{[]btf.Member{outer, {Name: "values", Type: pointers(tU32)}}, `member values points to Int:"unsigned int"`},
		{[]btf.Member{jumps, {Name: "values", Type: pointers(inner)}}, "member values points to Struct"},
		{[]btf.Member{outer, {Name: "values", Type: pointers(&btf.Struct{Members: []btf.Member{number("type", 2), number("pinning", 1)}})}}, "inner map: bad map definition: pinning 1"},
		{[]btf.Member{outer, {Name: "values", Type: pointers(&btf.Struct{Members: []btf.Member{outer, {Name: "values", Type: pointers(inner)}}})}}, "inner map: not supported: maps nest one level deep"},
	} {
		p := mapParser{m: &Map{Name: "m"}}
		err := p.parse(&btf.Struct{Members: c.members})
		if err == nil || !errors.Is(err, ErrBadMap) && !errors.Is(err, ErrNotSupported) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("error %v, want %s", err, c.want)
		}
	}
}

// Cilium's objects have maps that its own loader pins in another way.
func TestPinningOfALoadersOwn(t *testing.T) {
	p := mapParser{m: &Map{Name: "m"}}
	number := func(name string, n uint32) btf.Member { return btf.Member{Name: name, Type: ptrTo(arrOf(tU32, n))} }
	if err := p.parse(&btf.Struct{Members: []btf.Member{number("type", 1), number("pinning", 1<<4)}}); err != nil || p.m.Pinning != 1<<4 {
		t.Errorf("pinning %d, %v", p.m.Pinning, err)
	}
}

func TestRingSize(t *testing.T) {
	page := uint32(os.Getpagesize())
	for n, want := range map[uint32]uint32{
		0: 0, 1: page, page: page, page + 1: 2 * page, 3 * page: 4 * page, 1 << 31: 1 << 31, 1<<32 - 1: 1<<32 - 1,
	} {
		if got := ringSize(n); got != want {
			t.Errorf("%d bytes become %d, want %d", n, got, want)
		}
	}
}

func TestDataMapName(t *testing.T) {
	for _, c := range [][3]string{
		{"my_object_name", ".rodata", "my_objec.rodata"},
		{"my_object_name", ".bss", "my_objec.bss"},
		{"my_object_name", ".kconfig", "my_obje.kconfig"},
		{"fw", ".data", "fw.data"},
		{"fw", ".rodata.str1.1", ".rodata.str1.1"},
		{"fw", ".rodata.abracadabra", ".rodata.abracad"},
		{"a-b", ".bss", "a_b.bss"},
	} {
		if got := dataMapName(c[0], c[1]); got != c[2] {
			t.Errorf("%s of %s is %s, want %s", c[1], c[0], got, c[2])
		}
	}
}

func TestSections(t *testing.T) {
	for _, c := range []struct {
		section  string
		typ      catalog.ProgType
		attach   catalog.AttachType
		attachTo string
		flags    uint32
	}{
		{"xdp", catalog.ProgXDP, catalog.AttachXDP, "", 0},
		{"xdp.frags/cpumap", catalog.ProgXDP, catalog.AttachXDPCPUMap, "", catalog.LoadXDPHasFrags},
		{"xdp_drop", catalog.ProgXDP, catalog.AttachXDP, "", 0},
		{"xdp/main", catalog.ProgXDP, catalog.AttachXDP, "", 0},
		{"tc/egress", catalog.ProgSchedCls, catalog.AttachTCXEgress, "", 0},
		{"classifier/3", catalog.ProgSchedCls, 0, "", 0},
		{"fentry.s/do_unlinkat", catalog.ProgTracing, catalog.AttachTraceFEntry, "do_unlinkat", catalog.LoadSleepable},
		{"kprobe.multi/tcp_*", catalog.ProgKprobe, catalog.AttachTraceKprobeMulti, "tcp_*", 0},
		{"lsm", catalog.ProgLSM, catalog.AttachLSMMAC, "", 0},
		{"mine", catalog.ProgUnspec, 0, "", 0},
	} {
		p := &Program{Section: c.section}
		p.classify()
		if p.Type != c.typ || p.Attach != c.attach || p.AttachTo != c.attachTo || p.Flags != c.flags {
			t.Errorf("%s: type %v, attach %v to %q, flags %#x", c.section, p.Type, p.Attach, p.AttachTo, p.Flags)
		}
	}
}

// TestMapDef: what bpf(2) is given for a map, with what libbpf fills in.
func TestMapDef(t *testing.T) {
	m := &Map{
		Name: "events", KernelName: "events", Type: catalog.MapPerfEventArray, KeySize: 4, ValueSize: 4, Key: tU32,
		Inner: &Map{Type: catalog.MapArray, KeySize: 4, ValueSize: 8, MaxEntries: 2, Key: tU32, Value: tU32},
	}
	got := m.Def(3)
	if got.Name != "events" || got.MaxEntries != 3 || got.Key != nil {
		t.Errorf("%+v: want events, an entry for each of 3 CPUs, no key type without a value type", got)
	}
	if in := got.Inner; in == nil || in.MaxEntries != 2 || in.ValueSize != 8 || in.Key == nil || in.Value == nil {
		t.Errorf("inner map %+v", in)
	}
	m.MaxEntries = 5
	if got := m.Def(3); got.MaxEntries != 5 {
		t.Errorf("%d entries, want those of the definition", got.MaxEntries)
	}
}
