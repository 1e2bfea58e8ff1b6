package bpfsys

import (
	"encoding/binary"

	"github.com/cilium/ebpf/btf"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/kstruct"
	"github.com/skep-bpf/skep/internal/maps"
	"github.com/skep-bpf/skep/internal/mem"
	"github.com/skep-bpf/skep/internal/run"
)

// Iter is the file of one walk of an iterator program: what the program wrote, when the file was made.
type Iter struct {
	l    *Link
	text []byte
}

// Acquire takes another reference to the link walked by.
func (i *Iter) Acquire() { i.l.Acquire() }

// Close ends the walk.
func (i *Iter) Close() { i.l.Close() }

// Text is what the file holds.
func (i *Iter) Text() []byte { return i.text }

// iterTarget is what an iterator walks: a map's elements, or what its kind says.
type iterTarget struct {
	m Map
}

func (t *iterTarget) close() {
	if t.m.Map != nil {
		t.m.Close()
	}
}

// linkIter follows bpf_iter_link_attach.
func (c *call) linkIter(a *linkCreate, p *run.Program) (int32, errno.Errno) {
	if a.TargetFd != 0 || a.Flags != 0 {
		return 0, errno.EINVAL
	}
	l := &Link{typ: LinkIter, attach: p.Info.Attach, name: p.Rewritten.Source.AttachTo, iter: &iterTarget{}}
	if l.name == "bpf_map_elem" {
		addr, n := u64at(a.Extra[:], 0), u32at(a.Extra[:], 8)
		if n < 4 {
			return 0, errno.EBADF
		}
		b, e := c.read(addr, 4)
		if e != 0 {
			return 0, e
		}
		m, f, e := open[Map](c, int32(u32at(b, 0)))
		if e != 0 {
			return 0, e
		}
		m.Acquire()
		f.Put()
		l.iter.m = m
	}
	if e := c.s.newLink(l, p); e != 0 {
		l.iter.close()
		return 0, e
	}
	return c.install(l)
}

// iterCreate follows bpf_iter_create.
func (c *call) iterCreate() (int32, errno.Errno) {
	a := as[iterCreate](&c.attr)
	if a.Flags != 0 {
		return 0, errno.EINVAL
	}
	l, f, e := open[*Link](c, a.LinkFd)
	if e != 0 {
		return 0, e
	}
	defer f.Put()
	it, e := c.s.Walk(l, c.who.near())
	if e != 0 {
		return 0, e
	}
	return c.install(it)
}

// OpenIter walks by a link that is opened as a file (bpf_iter_fops); others cannot be: EIO.
func (s *System) OpenIter(who *Caller, l *Link) (*Iter, errno.Errno) {
	if l.typ != LinkIter {
		return nil, errno.EIO
	}
	return s.Walk(l, who.near())
}

// walk is one walk under way. A program is called with a struct of pointers:
//
//	{struct bpf_iter_meta *meta; object *…}
//
// and, when all objects were seen, once more with a nil object.
type walk struct {
	s   *System
	cpu *run.CPU
	p   *run.Program
	mem *mem.Block // context, meta, then what the object is made of
	seq uint64     // how many objects were shown
}

// Where things lie in a walk's memory.
const (
	walkMeta   = 64
	walkFile   = 128 // struct seq_file, which nobody looks into
	walkObject = 1024
)

// walkObjectSize is what objects are made in, a quarter of it each, in bytes.
const walkObjectSize = 16 << 10

// Walk runs a link's iterator over all it walks and makes a file of what it
// wrote. near is as testrun has it. Objects of kinds that this system has not, processes and sockets, are
// none: the program sees the end at once.
func (s *System) Walk(l *Link, near int) (*Iter, errno.Errno) {
	if l.typ != LinkIter {
		return nil, errno.EINVAL
	}
	p := l.program()
	if p == nil {
		return nil, errno.EINVAL
	}
	defer p.Close()
	s.sockets.sweep()
	size := walkObjectSize
	if m := l.iter.m.Map; m != nil {
		size += int(m.Def().KeySize) + m.ValueSize() + 16
	}
	b, err := mem.Alloc(walkObject + size)
	if err != nil {
		return nil, errno.ENOMEM
	}
	defer b.Free()
	w := walk{s: s, p: p, mem: b}
	if near > 0 && near <= s.m.CPUs() {
		w.cpu = s.m.AcquireNear(near - 1)
	} else {
		w.cpu = s.m.Acquire()
	}
	defer w.cpu.Release()
	it := &Iter{l: l}
	w.cpu.WriteTo(func(part []byte) { it.text = append(it.text, part...) })
	defer w.cpu.WriteTo(nil)
	binary.NativeEndian.PutUint64(b.Bytes()[walkMeta:], b.Addr()+walkFile)
	binary.NativeEndian.PutUint64(b.Bytes()[walkMeta+8:], uint64(l.id))
	var e errno.Errno
	switch l.name {
	case "bpf_map":
		e = w.each(s.m.Maps.NextID, func(id uint32) ([]uint64, func(), errno.Errno) {
			m := s.m.MapByID(id)
			if m == nil {
				return nil, nil, errno.ENOENT
			}
			return []uint64{w.mapObject(m)}, func() { s.m.CloseMap(m) }, 0
		})
	case "bpf_prog":
		e = w.each(s.m.NextProgram, func(id uint32) ([]uint64, func(), errno.Errno) {
			q := s.m.Program(id)
			if q == nil {
				return nil, nil, errno.ENOENT
			}
			return []uint64{w.progObject(q)}, q.Close, 0
		})
	case "bpf_link":
		e = w.each(s.links.next, func(id uint32) ([]uint64, func(), errno.Errno) {
			k, ok := s.links.get(id, (*Link).tryAcquire)
			if !ok {
				return nil, nil, errno.ENOENT
			}
			return []uint64{w.linkObject(k)}, k.Close, 0
		})
	case "bpf_map_elem":
		e = w.elements(l.iter.m)
	}
	if e == 0 {
		e = w.show(make([]uint64, 3)...)
	}
	if e != 0 {
		return nil, e
	}
	l.Acquire()
	return it, 0
}

// each shows the objects of a table. object makes one of an id, and says how to give it back.
func (w *walk) each(next func(uint32) (uint32, bool), object func(id uint32) ([]uint64, func(), errno.Errno)) errno.Errno {
	for id, ok := next(0); ok; id, ok = next(id) {
		args, done, e := object(id)
		if e != 0 {
			continue // gone meanwhile
		}
		e = w.show(args...)
		done()
		if e != 0 {
			return e
		}
	}
	return 0
}

// show runs the program on one object. It answers 0, or 1 for an object that is to be shown again, which
// the kernel's readers get EAGAIN for.
func (w *walk) show(args ...uint64) errno.Errno {
	b, order := w.mem.Bytes(), binary.NativeEndian
	order.PutUint64(b[walkMeta+16:], w.seq)
	order.PutUint64(b, w.mem.Addr()+walkMeta)
	for i, a := range args {
		order.PutUint64(b[8+8*i:], a)
	}
	w.seq++
	r, err := w.cpu.Run(w.p, w.mem.Addr(), nil)
	if err != nil {
		return numberOf(err)
	}
	if r != 0 {
		return errno.EAGAIN
	}
	return 0
}

// elements shows a map's elements: the map, a key, a value.
func (w *walk) elements(m Map) errno.Errno {
	inner := maps.Unwrap(m.Map)
	def := inner.Def()
	object := w.mapObject(inner)
	at := walkObject + walkObjectSize
	key := w.mem.Bytes()[at:][:def.KeySize]
	valueAt := at + int(def.KeySize+7)&^7
	value := w.mem.Bytes()[valueAt:][:inner.ValueSize()]
	perCPU := catalog.MapKindByType(def.Type).Traits&catalog.PerCPU != 0
	var prev []byte
	next := make([]byte, def.KeySize)
	for inner.NextKey(prev, next) == nil {
		prev = append(prev[:0], next...)
		copy(key, next)
		addr := inner.ProgLookup(w.cpu.ID(), w.mem.Addr()+uint64(at))
		if perCPU {
			if inner.Lookup(key, value, 0) != nil {
				continue
			}
			addr = w.mem.Addr() + uint64(valueAt)
		}
		if addr == 0 {
			continue // gone meanwhile
		}
		if e := w.show(object, w.mem.Addr()+uint64(at), addr); e != 0 {
			return e
		}
	}
	return 0
}

// object begins an object: a struct of the kernel's types, of zeroes.
func (w *walk) object(name string, at int) kstruct.Struct {
	area := w.mem.Bytes()[walkObject+at:][:walkObjectSize/4]
	clear(area)
	var types *btf.Spec
	if k := w.s.kernelBTF(); k != nil {
		types = k.spec
	}
	return kstruct.New(types, name, area, w.mem.Addr()+uint64(walkObject+at))
}

func (w *walk) mapObject(m maps.Map) uint64 {
	d := m.Def()
	o := w.object("bpf_map", 0)
	o.Set("map_type", uint64(d.Type))
	o.Set("key_size", uint64(d.KeySize))
	o.Set("value_size", uint64(d.ValueSize))
	o.Set("max_entries", uint64(d.MaxEntries))
	o.Set("map_flags", uint64(d.Flags))
	o.Set("map_extra", d.Extra)
	o.Set("id", uint64(d.ID))
	o.Text("name", d.Name)
	o.Set("refcnt.counter", 1)
	o.Set("usercnt.counter", 1)
	return o.Addr
}

func (w *walk) progObject(p *run.Program) uint64 {
	aux := w.object("bpf_prog_aux", walkObjectSize/4)
	aux.Set("id", uint64(p.ID()))
	aux.Text("name", p.Info.Name)
	aux.Set("load_time", p.About.Time)
	aux.Set("verified_insns", uint64(p.About.VerifiedInsns))
	aux.Set("attach_btf_id", uint64(p.About.AttachBTFType))
	aux.Set("used_map_cnt", uint64(len(p.Maps())))
	o := w.object("bpf_prog", 0)
	o.Set("type", uint64(p.Info.Type))
	o.Set("expected_attach_type", uint64(p.Info.Attach))
	o.Set("len", uint64(len(p.Rewritten.Insns)))
	o.Text("tag", string(p.About.Tag[:]))
	o.Set("aux", aux.Addr)
	return o.Addr
}

func (w *walk) linkObject(l *Link) uint64 {
	o := w.object("bpf_link", walkObjectSize/2)
	o.Set("id", uint64(l.id))
	o.Set("type", uint64(l.typ))
	o.Set("refcnt.counter", uint64(l.refs.Load()))
	if p := l.program(); p != nil {
		o.Set("prog", w.progObject(p))
		p.Close()
	}
	return o.Addr
}
