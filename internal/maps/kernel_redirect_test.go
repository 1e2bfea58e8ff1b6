package maps_test

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"testing"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/linux"
	"github.com/skep-bpf/skep/internal/maps"
	"github.com/skep-bpf/skep/isa"
)

// redirectConfig resolves devices as the kernel has them and the descriptors
// of programs it loads: one per attach type, and one that is no XDP program.
func redirectConfig(t *testing.T) (*maps.Config, []uint32) {
	cfg := config(t)
	progs := map[uint32]*fakeProg{}
	fds := []uint32{1 << 20, 1<<32 - 1}
	for _, a := range []struct {
		typ    catalog.ProgType
		attach catalog.AttachType
	}{
		{catalog.ProgXDP, 0}, {catalog.ProgXDP, catalog.AttachXDPDevMap},
		{catalog.ProgXDP, catalog.AttachXDPCPUMap}, {catalog.ProgSocketFilter, 0},
	} {
		p, err := linux.Load(&linux.Prog{Type: a.typ, Attach: a.attach, License: "GPL",
			Insns: isa.Program(isa.Mov64Imm(isa.R0, 2), isa.ExitInsn())})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { p.Close() })
		info, err := p.Info()
		if err != nil {
			t.Fatal(err)
		}
		progs[uint32(p.FD())] = &fakeProg{id: info.ID, owner: maps.ProgOwner{Type: a.typ, Attach: a.attach}}
		fds = append(fds, uint32(p.FD()))
	}
	cfg.Prog = func(fd uint32) (maps.Prog, error) {
		if p := progs[fd]; p != nil {
			p.Acquire()
			return p, nil
		}
		return nil, errno.EBADF
	}
	cfg.Device = func(ifindex uint32) bool {
		_, err := net.InterfaceByIndex(int(ifindex))
		return err == nil
	}
	t.Cleanup(func() {
		for fd, p := range progs {
			if p.refs != 0 {
				t.Errorf("descriptor %d: %d references left", fd, p.refs)
			}
		}
	})
	return cfg, fds
}

// TestRedirectMapsAgainstKernel fills and empties the maps packets are redirected through.
func TestRedirectMapsAgainstKernel(t *testing.T) {
	for _, typ := range []catalog.MapType{catalog.MapDevMap, catalog.MapDevMapHash, catalog.MapCPUMap, catalog.MapXSKMap} {
		for _, size := range []uint32{4, 8} {
			if typ == catalog.MapXSKMap && size == 8 {
				continue
			}
			t.Run(fmt.Sprintf("%d/%d", typ, size), func(t *testing.T) {
				cfg, fds := redirectConfig(t)
				d := def(typ, 4, size, 3, 0)
				ours, err := maps.New(cfg, d)
				if err != nil {
					t.Fatal(err)
				}
				kern, err := linux.NewMap(&d, nil)
				if err != nil {
					t.Fatal(err)
				}
				defer kern.Close()
				p := pairOf(t, ours, kern)
				r := rand.New(rand.NewPCG(8, uint64(typ)))
				targets := []uint32{0, 1, 1, 1 << 30, 192, 16384, 16385}
				flags := []uint64{0, 0, 0, 1, 2, 3, 4, 8}
				for range 300 {
					key := u32([]uint32{0, 1, 2, 3, 7, 1<<32 - 1}[r.IntN(6)])
					value := u32(targets[r.IntN(len(targets))])
					if typ == catalog.MapXSKMap {
						value = u32(1 << 20) // no descriptor: the kernel has no AF_XDP socket to give
					}
					if size == 8 {
						value = append(value, u32(append(fds, 0, 0, 0)[r.IntN(len(fds)+3)])...)
					}
					switch r.IntN(6) {
					case 0, 1, 2:
						p.update(key, value, flags[r.IntN(len(flags))])
					case 3:
						p.lookup(key, 0)
					case 4:
						p.delete(key)
					case 5:
						p.nextKey(key)
					}
				}
				p.walk()
				p.pop(u32(0), 0)
				p.batch(batchLookup, maps.Batch{Count: 1})
				p.batch(batchDelete, maps.Batch{Count: 1})
				p.freeze()
				p.update(u32(0), make([]byte, size), 0)
				ours.Close()
			})
		}
	}
}

// xskSocket is an AF_XDP socket in name only.
type xskSocket uint32

func (s xskSocket) QueueID() uint32                 { return uint32(s) }
func (s xskSocket) Enter(*maps.XSKMap, uint32) bool { return true }
func (s xskSocket) Leave(*maps.XSKMap, uint32)      {}

// TestTargets looks at what redirect helpers and hooks see.
func TestTargets(t *testing.T) {
	prog := &fakeProg{id: 7, owner: maps.ProgOwner{Type: catalog.ProgXDP, Attach: catalog.AttachXDPDevMap}}
	cfg := &maps.Config{CPUs: 4,
		Prog: func(uint32) (maps.Prog, error) { prog.Acquire(); return prog, nil },
		XSK:  func(fd uint32) (maps.Socket, error) { return xskSocket(fd), nil },
	}
	pair := func(a, b uint32) []byte { return append(u32(a), u32(b)...) }
	for _, c := range []struct {
		def    catalog.MapDef
		puts   map[uint32][]byte
		want   map[uint32]maps.Target
		memory map[uint32]uint64 // what a program's lookup finds
	}{
		{def(catalog.MapDevMap, 4, 8, 4, 0), map[uint32][]byte{1: pair(10, 0), 3: pair(11, 5)},
			map[uint32]maps.Target{1: {Ifindex: 10}, 3: {Ifindex: 11, Prog: prog}}, map[uint32]uint64{1: 10, 3: 7<<32 | 11}},
		{def(catalog.MapDevMapHash, 4, 8, 4, 0), map[uint32][]byte{100: pair(10, 0), 8: pair(11, 5)},
			map[uint32]maps.Target{100: {Ifindex: 10}, 8: {Ifindex: 11, Prog: prog}}, map[uint32]uint64{100: 10, 8: 7<<32 | 11}},
		{def(catalog.MapCPUMap, 4, 4, 4, 0), map[uint32][]byte{2: u32(64)},
			map[uint32]maps.Target{2: {CPU: 2, Qsize: 64}}, map[uint32]uint64{2: 64}},
		{def(catalog.MapXSKMap, 4, 4, 4, 0), map[uint32][]byte{0: u32(9)},
			map[uint32]maps.Target{0: {Socket: xskSocket(9)}}, map[uint32]uint64{0: 1<<32 | 9}},
	} {
		mp, err := maps.New(cfg, c.def)
		if err != nil {
			t.Fatal(err)
		}
		m := mp.(maps.RedirectMap)
		for k, v := range c.puts {
			if err := m.Update(u32(k), v, 0); err != nil {
				t.Fatalf("type %d: update %d: %v", c.def.Type, k, err)
			}
		}
		got := map[uint32]maps.Target{}
		m.Targets(func(k uint32, tg maps.Target) bool { got[k] = tg; return true })
		if len(got) != len(c.want) {
			t.Errorf("type %d: %d targets", c.def.Type, len(got))
		}
		scratch := newScratch(t)
		for k, want := range c.want {
			if tg, ok := m.Target(k); !ok || tg != want || got[k] != want {
				t.Errorf("type %d key %d: %+v, want %+v", c.def.Type, k, tg, want)
			}
			at := m.ProgLookup(0, scratch.put(u32(k)))
			if at == 0 || binary.NativeEndian.Uint64(scratch.read(at, 8)) != c.memory[k] {
				t.Errorf("type %d key %d: a program sees %x", c.def.Type, k, scratch.read(at, 8))
			}
			if e := int64(m.ProgDelete(0, scratch.put(u32(k)))); e != 0 {
				t.Errorf("type %d key %d: delete %d", c.def.Type, k, e)
			}
			if _, ok := m.Target(k); ok {
				t.Errorf("type %d key %d: still there", c.def.Type, k)
			}
		}
		if _, ok := m.Target(1 << 31); ok {
			t.Errorf("type %d: a target beyond the end", c.def.Type)
		}
		m.Close()
	}
	if prog.refs != 0 {
		t.Errorf("%d references left", prog.refs)
	}
}

// TestStackTrace stores call chains as bpf_get_stackid does.
func TestStackTrace(t *testing.T) {
	mp, err := maps.New(nil, def(catalog.MapStackTrace, 4, 4*8, 3, 0))
	if err != nil {
		t.Fatal(err)
	}
	defer mp.Close()
	m := mp.(*maps.StackTrace)
	neg := func(e errno.Errno) int64 { return -int64(e) }
	chain := []uint64{1, 2, 3, 4, 5, 6}
	id := m.ProgStackID(chain, 0)
	if int64(id) < 0 || id > 3 {
		t.Fatalf("id %d", int64(id))
	}
	if again := m.ProgStackID(slices.Clone(chain), 0); again != id {
		t.Errorf("the same chain has id %d and %d", id, again)
	}
	if cut := m.ProgStackID(append([]uint64{9}, chain...), 1); cut != id {
		t.Errorf("with its first frame skipped: %d", cut)
	}
	value := make([]byte, 32)
	if err := m.Lookup(u32(uint32(id)), value, 0); err != nil {
		t.Fatal(err)
	}
	for i, want := range []uint64{1, 2, 3, 4} {
		if got := binary.NativeEndian.Uint64(value[8*i:]); got != want {
			t.Errorf("frame %d: %d", i, got)
		}
	}
	for _, c := range []struct {
		ips   []uint64
		flags uint64
		want  int64
	}{
		{nil, 0, neg(errno.EFAULT)}, {chain, 6, neg(errno.EFAULT)}, {chain, 1 << 11, neg(errno.EINVAL)},
	} {
		if got := int64(m.ProgStackID(c.ips, c.flags)); got != c.want {
			t.Errorf("%d frames, flags %#x: %d, want %d", len(c.ips), c.flags, got, c.want)
		}
	}
	// Another chain with the same id is refused unless it may take the place.
	for n := uint64(100); ; n++ {
		other := []uint64{n}
		got := m.ProgStackID(other, 0)
		if int64(got) == neg(errno.EEXIST) {
			if got = m.ProgStackID(other, maps.StackReuse); got > 3 {
				t.Errorf("reuse: %d", int64(got))
			}
			break
		}
		m.Delete(u32(uint32(got)))
		if n > 1000 {
			t.Fatal("no two chains share an id")
		}
	}
	next := make([]byte, 4)
	if err := m.NextKey(nil, next); err != nil {
		t.Error(err)
	}
	if err := m.NextKey(next, next); err != errno.ENOENT && err != nil {
		t.Error(err)
	}
	if err := m.Delete(u32(9)); err != errno.E2BIG {
		t.Error(err)
	}
}
