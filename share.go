package skep

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"slices"

	"github.com/skep-bpf/skep/image"
	"github.com/skep-bpf/skep/internal/catalog"
	maptypes "github.com/skep-bpf/skep/internal/maps"
	"github.com/skep-bpf/skep/internal/passing"
	"github.com/skep-bpf/skep/internal/run"
	"github.com/skep-bpf/skep/isa"
)

// ErrBadPeer says that what another process sent, or a file of its, is not what it
// should be. Nothing of it is kept.
var ErrBadPeer = errors.New("another process sent what cannot be used")

// Shared reports whether the map's memory can be other processes' too, see [CollectionOptions.Share].
func (m *Map) Shared() bool { return m.m.Def().Shared }

// File returns a file that stands for the map's memory, for the caller to close: another process that
// gets it, by a unix socket or as a file it is started with, opens the map with [Machine.OpenMap]. The error is a
// [ErrNotSupported] for maps that are not [Map.Shared].
func (m *Map) File() (*os.File, error) {
	if err := m.open(); err != nil {
		return nil, m.wrap("file", err)
	}
	f, err := maptypes.Hand(m.m)
	return f, m.wrap("file", err)
}

// OpenMap opens a map that another process has, of the file its [Map.File] gave, which stays the caller's. Both then
// have one and the same memory. The error wraps [ErrBadPeer] if the file is not one.
func (m *Machine) OpenMap(f *os.File) (*Map, error) {
	if err := m.open(); err != nil {
		return nil, err
	}
	return m.openMap(f, nil)
}

func (m *Machine) openMap(f *os.File, types *passing.MapTypes) (*Map, error) {
	key, value, err := types.Load()
	if err != nil {
		return nil, fmt.Errorf("%w: the types of a map: %w", ErrBadPeer, err)
	}
	mp, err := m.m.OpenMap(f, key, value)
	if err != nil {
		if errors.Is(err, maptypes.ErrBadShared) {
			err = fmt.Errorf("%w: %w", ErrBadPeer, err)
		}
		return nil, err
	}
	return newMap(mp, m), nil
}

// origin is what a program was loaded from.
type origin struct {
	img  *image.Image
	prog *image.Program
	maps []maptypes.Map // by the index in instructions
}

// uses returns the indices of the maps that a program refers to.
func (o *origin) uses() (used []int) {
	for _, ins := range o.prog.Insns {
		if ins.IsLoadImm64() && (ins.Src == isa.PseudoMapIdx || ins.Src == isa.PseudoMapIdxValue) && !slices.Contains(used, int(ins.Imm)) {
			used = append(used, int(ins.Imm))
		}
	}
	return used
}

// Send passes the collection's maps and programs to another process, which takes them with [Machine.Receive]: the
// memory of the maps is then both processes' own, so that what one writes is there for the other; programs go as
// they were loaded, and are verified and compiled anew. Maps that programs use go with them.
//
// Maps have to be [Map.Shared]; a program array goes too, but each process has one of its own. Others end Send with an error that wraps [ErrNotSupported], before anything is sent.
// Constant data, frozen and for programs to read only, goes in any case: as memory that nobody can change any more. The collection stays as it is.
func (c *Collection) Send(conn *net.UnixConn) error {
	s := sender{names: map[uint32]string{}, index: map[maptypes.Map]int{}, objects: map[*image.Image]int{}}
	defer func() { passing.Close(s.files) }()
	err := s.add(c)
	if err == nil {
		var manifest []byte
		if manifest, err = s.out.Encode(); err == nil {
			err = passing.Send(conn, manifest, s.files)
		}
	}
	if err != nil {
		return fmt.Errorf("send: %w", err)
	}
	return nil
}

// sender builds a message.
type sender struct {
	out     passing.Collection
	files   []*os.File
	index   map[maptypes.Map]int // in out.Maps
	objects map[*image.Image]int // in out.Objects
	adders  []func(*image.Program) error
	names   map[uint32]string // of the collection's programs, by id
}

func (s *sender) add(c *Collection) error {
	for name, p := range c.Programs {
		s.names[p.ID()] = name
	}
	for _, name := range slices.Sorted(maps.Keys(c.Maps)) {
		m := c.Maps[name]
		if err := m.open(); err != nil {
			return m.wrap("send", err)
		}
		if err := s.addMap(name, m.m); err != nil {
			return err
		}
	}
	for _, name := range slices.Sorted(maps.Keys(c.Programs)) {
		if err := s.addProgram(name, c.Programs[name]); err != nil {
			return fmt.Errorf("program %s: %w", name, err)
		}
	}
	return nil
}

// addMap adds a map under a name, or without one if a program uses it.
func (s *sender) addMap(name string, m maptypes.Map) error {
	m = maptypes.Unwrap(m)
	out := passing.Map{Name: name, File: len(s.files)}
	if i, ok := s.index[m]; ok {
		out.Alias = i + 1
		s.out.Maps = append(s.out.Maps, out)
		return nil
	}
	var err error
	if jumps, ok := m.(*maptypes.ProgArray); ok {
		out.Jumps, err = s.jumps(jumps)
	} else {
		var f *os.File
		if f, err = maptypes.Hand(m); err == nil {
			s.files = append(s.files, f)
			out.Types, err = passing.NewMapTypes(m.Def().Key, m.Def().Value)
		}
	}
	s.index[m] = len(s.out.Maps)
	s.out.Maps = append(s.out.Maps, out)
	return err
}

// jumps takes a program array down, by the names of its programs.
func (s *sender) jumps(m *maptypes.ProgArray) (*passing.Jumps, error) {
	def := m.Def()
	j := &passing.Jumps{Name: def.Name, MaxEntries: def.MaxEntries, Flags: def.Flags, Programs: map[uint32]string{}}
	for i := range def.MaxEntries {
		p := m.Prog(i)
		if p == nil {
			continue
		}
		name, ok := s.names[p.ID()]
		if !ok {
			return nil, fmt.Errorf("map %s: the program in entry %d is not among the collection's", def.Name, i)
		}
		j.Programs[i] = name
	}
	return j, nil
}

func (s *sender) addProgram(name string, p *Program) error {
	switch {
	case p.done.Load():
		return ErrClosed
	case p.from == nil:
		return errors.New("only programs of a collection can be sent")
	}
	p.p.Acquire() // its maps stay
	defer p.p.Close()
	at, ok := s.objects[p.from.img]
	if !ok {
		o, add, err := passing.NewObject(p.from.img)
		if err != nil {
			return err
		}
		for range p.from.maps {
			o.Maps = append(o.Maps, -1)
		}
		at = len(s.adders)
		s.objects[p.from.img], s.adders, s.out.Objects = at, append(s.adders, add), append(s.out.Objects, o)
	}
	for _, i := range p.from.uses() {
		m := maptypes.Unwrap(p.from.maps[i])
		if _, ok := s.index[m]; !ok {
			if err := s.addMap("", m); err != nil {
				return err
			}
		}
		s.out.Objects[at].Maps[i] = s.index[m]
	}
	ip := *p.from.prog
	ip.Name = name
	return s.adders[at](&ip)
}

// Receive takes what another process sent with [Collection.Send]. The machine verifies the programs by itself, and looks at
// all that the other says of the maps; from then on it reads what lies in them as something that the other may change at any time.
// Who may connect is the caller's to check.
//
// The error is [io.EOF] when the other has closed the connection, and wraps [ErrBadPeer] if what it sent cannot be used,
// or a [*VerifierError]. Nothing is kept after an error.
func (m *Machine) Receive(conn *net.UnixConn) (*Collection, error) {
	if err := m.open(); err != nil {
		return nil, err
	}
	manifest, files, err := passing.Receive(conn)
	if err != nil {
		return nil, badPeer(err)
	}
	defer passing.Close(files)
	in, err := passing.Decode(manifest, len(files))
	if err != nil {
		return nil, badPeer(err)
	}
	r := receiver{m: m, in: in, files: files, coll: &Collection{Programs: map[string]*Program{}, Maps: map[string]*Map{}, Refused: map[string]error{}}}
	err = r.receive()
	for _, mp := range r.unnamed {
		mp.Close() // programs that use it have it
	}
	if err != nil {
		r.coll.Close()
		return nil, badPeer(err)
	}
	return r.coll, nil
}

func badPeer(err error) error {
	if errors.Is(err, passing.ErrMessage) {
		return fmt.Errorf("%w: %w", ErrBadPeer, err)
	}
	return err
}

type receiver struct {
	m       *Machine
	in      *passing.Collection
	files   []*os.File
	coll    *Collection
	unnamed []*Map
	maps    []maptypes.Map // by the index in the manifest
}

func (r *receiver) receive() error {
	var all []*Map
	for _, im := range r.in.Maps {
		mp, err := r.open(&im, all)
		if err != nil {
			return fmt.Errorf("map %s: %w", im.Name, err)
		}
		all = append(all, mp)
		r.maps = append(r.maps, maptypes.Unwrap(mp.m))
		if _, twice := r.coll.Maps[im.Name]; im.Name == "" || twice {
			r.unnamed = append(r.unnamed, mp)
		} else {
			r.coll.Maps[im.Name] = mp
		}
	}
	for _, o := range r.in.Objects {
		if err := r.load(o); err != nil {
			return err
		}
	}
	for i, im := range r.in.Maps {
		if im.Jumps == nil {
			continue
		}
		for key, name := range im.Jumps.Programs {
			p := r.coll.Programs[name]
			if p == nil {
				return fmt.Errorf("%w: map %s has a program %s, which did not come", ErrBadPeer, im.Name, name)
			}
			if err := all[i].Put(key, p); err != nil {
				return err
			}
		}
	}
	return nil
}

// open opens, or makes, the next map; before are those that have been.
func (r *receiver) open(im *passing.Map, before []*Map) (*Map, error) {
	switch j := im.Jumps; {
	case im.Alias != 0:
		return before[im.Alias-1].Clone(), nil
	case j != nil:
		mp, err := r.m.m.NewMap(catalog.MapDef{Type: catalog.MapProgArray, Name: j.Name, KeySize: 4, ValueSize: 4,
			MaxEntries: j.MaxEntries, Flags: j.Flags})
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrBadPeer, err)
		}
		return &Map{m: mp, mach: r.m}, nil
	}
	return r.m.openMap(r.files[im.File], im.Types)
}

// load verifies and loads the programs of one object.
func (r *receiver) load(o *passing.Object) error {
	img, err := o.Image(hostOrder())
	if err != nil {
		return err
	}
	l := loader{m: r.m, img: img, coll: r.coll, gpl: run.GPLCompatible(o.License)}
	for _, i := range o.Maps {
		if i < 0 {
			l.maps = append(l.maps, nil)
			continue
		}
		l.maps = append(l.maps, r.maps[i])
	}
	for _, ip := range img.Programs {
		if r.coll.Programs[ip.Name] != nil {
			return fmt.Errorf("%w: two programs %s", ErrBadPeer, ip.Name)
		}
		p, err := l.loadProgram(ip)
		if err != nil {
			return fmt.Errorf("program %s: %w", ip.Name, err)
		}
		r.coll.Programs[ip.Name] = p
	}
	return nil
}
