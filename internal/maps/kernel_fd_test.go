package maps_test

import (
	"fmt"
	"testing"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/linux"
	"github.com/skep-bpf/skep/internal/maps"
	"github.com/skep-bpf/skep/isa"
)

// twin is an object made on both sides; the kernel's descriptor names both.
type twin struct {
	ours maps.Map
	kern *linux.Map
}

// twins resolves the kernel's descriptors to our maps.
type twins map[uint32]twin

func (w twins) add(t testing.TB, cfg *maps.Config, reg *maps.Registry, d catalog.MapDef) uint32 {
	t.Helper()
	ours, err := maps.New(cfg, d)
	if err != nil {
		t.Fatal(err)
	}
	if err := reg.Add(ours); err != nil {
		t.Fatal(err)
	}
	kern, err := linux.NewMap(&d, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { kern.Close(); ours.Close() })
	w[uint32(kern.FD())] = twin{ours, kern}
	return uint32(kern.FD())
}

func (w twins) resolve(fd uint32) (maps.Map, error) {
	x, ok := w[fd]
	if !ok {
		return nil, errno.EBADF
	}
	x.ours.Acquire()
	return x.ours, nil
}

// kernelID finds the twin a kernel id belongs to and returns our id.
func (w twins) ourID(t testing.TB, kernelID uint32) uint32 {
	t.Helper()
	for _, x := range w {
		info, err := x.kern.Info()
		if err != nil {
			t.Fatal(err)
		}
		if info.ID == kernelID {
			return x.ours.Def().ID
		}
	}
	t.Fatalf("no map with the kernel's id %d", kernelID)
	return 0
}

// TestCreateOuter compares which inner maps the map-in-map types take.
func TestCreateOuter(t *testing.T) {
	cfg := config(t)
	inners := []catalog.MapDef{
		def(catalog.MapArray, 4, 8, 4, 0), def(catalog.MapArray, 4, 8, 4, catalog.FlagInnerMap),
		def(catalog.MapHash, 4, 8, 4, 0), def(catalog.MapHash, 4, 8, 4, catalog.FlagRdonly),
		def(catalog.MapPerCPUArray, 4, 8, 4, 0), def(catalog.MapPerCPUHash, 4, 8, 4, 0),
		def(catalog.MapLRUHash, 4, 8, 4, 0), def(catalog.MapLRUPerCPUHash, 4, 8, 4, 0),
		def(catalog.MapLPMTrie, 8, 8, 4, catalog.FlagNoPrealloc), def(catalog.MapQueue, 0, 4, 4, 0),
		def(catalog.MapStack, 0, 4, 4, 0), def(catalog.MapBloomFilter, 0, 4, 4, 0),
		def(catalog.MapRingBuf, 0, 0, 4096, 0), def(catalog.MapProgArray, 4, 4, 4, 0),
		def(catalog.MapPerfEventArray, 4, 4, 4, 0), def(catalog.MapStackTrace, 4, 8, 4, 0),
		def(catalog.MapDevMap, 4, 4, 4, 0), def(catalog.MapDevMapHash, 4, 4, 4, 0),
		def(catalog.MapCPUMap, 4, 4, 1, 0), def(catalog.MapXSKMap, 4, 4, 4, 0),
	}
	for _, outer := range []catalog.MapDef{
		def(catalog.MapArrayOfMaps, 4, 4, 3, 0), def(catalog.MapHashOfMaps, 8, 4, 3, 0),
		def(catalog.MapArrayOfMaps, 8, 4, 3, 0), def(catalog.MapHashOfMaps, 8, 8, 3, 0),
		def(catalog.MapArrayOfMaps, 4, 4, 0, 0), def(catalog.MapHashOfMaps, 8, 4, 3, catalog.FlagNoPrealloc),
		def(catalog.MapArrayOfMaps, 4, 4, 3, catalog.FlagRdonlyProg), def(catalog.MapHashOfMaps, 8, 4, 3, catalog.FlagRdonlyProg),
	} {
		for _, in := range inners {
			if !maps.Supported(in.Type) {
				continue
			}
			outer.Inner = &in
			ours, err := maps.New(cfg, outer)
			if err == nil {
				ours.Close()
			}
			kern, kerr := linux.NewMap(&outer, nil)
			if kerr == nil {
				kern.Close()
			}
			if a, b := number(t, err), number(t, kerr); a != b {
				t.Errorf("type %d of type %d: %v, kernel says %v", outer.Type, in.Type, a, b)
			}
		}
	}
}

// TestMapInMapAgainstKernel puts inner maps in and out.
func TestMapInMapAgainstKernel(t *testing.T) {
	for _, typ := range []catalog.MapType{catalog.MapArrayOfMaps, catalog.MapHashOfMaps} {
		t.Run(fmt.Sprint(typ), func(t *testing.T) {
			w := twins{}
			cfg := config(t)
			cfg.Map = w.resolve
			var reg maps.Registry
			template := def(catalog.MapArray, 4, 8, 4, 0)
			good := []uint32{w.add(t, cfg, &reg, template), w.add(t, cfg, &reg, template)}
			bad := []uint32{
				w.add(t, cfg, &reg, def(catalog.MapArray, 4, 8, 5, 0)), w.add(t, cfg, &reg, def(catalog.MapArray, 4, 4, 4, 0)),
				w.add(t, cfg, &reg, def(catalog.MapHash, 4, 8, 4, 0)), w.add(t, cfg, &reg, def(catalog.MapArray, 4, 8, 4, catalog.FlagMmapable)),
				1 << 20,
			}
			outer := def(typ, 4, 4, 3, 0)
			if typ == catalog.MapHashOfMaps {
				outer.Flags = catalog.FlagZeroSeed
			}
			outer.Inner = &template
			ours, err := maps.New(cfg, outer)
			if err != nil {
				t.Fatal(err)
			}
			kern, err := linux.NewMap(&outer, nil)
			if err != nil {
				t.Fatal(err)
			}
			defer kern.Close()
			p := pairOf(t, ours, kern)
			ids := func(key []byte) {
				t.Helper()
				a, b := make([]byte, 4), make([]byte, 4)
				if p.same("lookup", ours.Lookup(key, a, 0), kern.Lookup(key, b, 0)) != 0 {
					return
				}
				if want := w.ourID(t, le32(b)); le32(a) != want {
					t.Errorf("id %d, kernel has the map that we call %d", le32(a), want)
				}
			}
			for i := range uint32(5) {
				ids(u32(i))
				for _, f := range []uint64{0, 1, 2, 0, 4, 7} {
					for _, fd := range append(good, bad...) {
						p.update(u32(i), u32(fd), f)
						ids(u32(i))
					}
				}
				p.nextKey(u32(i))
				p.pop(u32(i), 0)
			}
			for key, e := p.nextKey(nil); e == 0; key, e = p.nextKey(key) {
				ids(key)
			}
			p.batch(batchDelete, maps.Batch{Keys: append(u32(0), u32(7)...), Count: 2})
			p.batch(batchUpdate, maps.Batch{Keys: append(u32(0), u32(1)...), Values: append(u32(good[0]), u32(bad[0])...), Count: 2})
			for i := range uint32(5) {
				p.delete(u32(i))
				p.delete(u32(i))
				ids(u32(i))
			}
			p.update(u32(0), u32(good[0]), 0)
			p.update(u32(1), u32(good[0]), 0)
			ours.Close() // takes its references along: the cleanups find the inner maps alive
		})
	}
}

func le32(b []byte) uint32 {
	return uint32(b[0]) | uint32(b[1])<<8 | uint32(b[2])<<16 | uint32(b[3])<<24
}

// fakeProg is a program that only knows what it is.
type fakeProg struct {
	id    uint32
	owner maps.ProgOwner
	refs  int
}

func (p *fakeProg) ID() uint32            { return p.id }
func (p *fakeProg) Target() uint64        { return 0 }
func (p *fakeProg) Enter() bool           { return true }
func (p *fakeProg) Leave()                {}
func (p *fakeProg) Owner() maps.ProgOwner { return p.owner }
func (p *fakeProg) Acquire()              { p.refs++ }
func (p *fakeProg) Close()                { p.refs-- }

// TestProgArrayAgainstKernel stores programs of two types, numbers and rubbish.
func TestProgArrayAgainstKernel(t *testing.T) {
	cfg := config(t)
	progs := map[uint32]*fakeProg{}
	var fds []uint32
	for _, typ := range []catalog.ProgType{catalog.ProgSocketFilter, catalog.ProgXDP, catalog.ProgSocketFilter} {
		p, err := linux.Load(&linux.Prog{Type: typ, License: "GPL", Insns: isa.Program(isa.Mov64Imm(isa.R0, 0), isa.ExitInsn())})
		if err != nil {
			t.Fatal(err)
		}
		defer p.Close()
		info, err := p.Info()
		if err != nil {
			t.Fatal(err)
		}
		progs[uint32(p.FD())] = &fakeProg{id: info.ID, owner: maps.ProgOwner{Type: typ}}
		fds = append(fds, uint32(p.FD()))
	}
	cfg.Prog = func(fd uint32) (maps.Prog, error) {
		p := progs[fd]
		if p == nil {
			return nil, errno.EBADF
		}
		p.Acquire()
		return p, nil
	}
	d := def(catalog.MapProgArray, 4, 4, 3, 0)
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
	for i := range uint32(4) {
		p.lookup(u32(i), 0)
		p.delete(u32(i))
		for _, fd := range append(fds, 1<<20) {
			for _, f := range []uint64{0, 1, 2, 4} {
				p.update(u32(i), u32(fd), f)
				p.lookup(u32(i), 0)
			}
		}
		p.nextKey(u32(i))
		p.pop(u32(i), 0)
	}
	p.walk()
	p.batch(batchLookup, maps.Batch{Count: 1})
	p.batch(batchUpdate, maps.Batch{Count: 1})
	p.delete(u32(1))
	p.delete(u32(1))
	p.freeze()
	p.update(u32(1), u32(fds[0]), 0)
	ours.Close()
	for fd, prog := range progs {
		if prog.refs != 0 {
			t.Errorf("descriptor %d: %d references left", fd, prog.refs)
		}
	}
}
