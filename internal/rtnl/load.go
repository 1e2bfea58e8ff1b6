package rtnl

import (
	"crypto/sha1"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/skep-bpf/skep"
	"github.com/skep-bpf/skep/classic"
	"github.com/skep-bpf/skep/image"
	"github.com/skep-bpf/skep/internal/bpfsys"
	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/run"
	"github.com/skep-bpf/skep/internal/unwrap"
)

// defaultSections are what iproute2 takes from an object where no section is named.
var defaultSections = map[catalog.ProgType]string{
	catalog.ProgSchedCls: "classifier", catalog.ProgSchedAct: "action", catalog.ProgXDP: "prog",
}

// loaded is a program with a reference, as listings call it.
type loaded struct {
	prog *run.Program
	name string // "foo.o:[sec]"
	code string // classic BPF
	log  string // of the verifier, if asked for
}

// load gets a program of a type from where o says, file being the object's.
func (s *Server) load(r *request, o *Object, file *os.File, typ catalog.ProgType) (loaded, error) {
	switch {
	case o.Pinned != "":
		return s.pinned(r, o.Pinned, typ)
	case o.Code != "":
		return s.bytecode(o.Code, typ)
	case file == nil:
		return loaded{}, errors.New("no object file came with the request")
	}
	l := objectLoad{s: s, r: r, o: o, typ: typ}
	defer l.close()
	return l.run(file)
}

// pinned opens a program by its name in the BPF file system.
func (s *Server) pinned(r *request, path string, typ catalog.ProgType) (loaded, error) {
	o, e := r.Names.Get(s.path(path))
	if e != 0 {
		return loaded{}, refuse(e, fmt.Sprintf("Couldn't retrieve pinned program '%s': %s", path, e.Error()))
	}
	p, ok := o.(*run.Program)
	if !ok || p.Info.Type != typ {
		o.Close()
		if ok {
			return loaded{}, refuse(errno.EINVAL, fmt.Sprintf("pinned program '%s' is of type %s, not %s", path, p.Info.Type, typ))
		}
		return loaded{}, refuse(errno.EINVAL, fmt.Sprintf("'%s' is no program", path))
	}
	return loaded{prog: p, name: filepath.Base(path) + ":[*fsobj]"}, nil
}

// path follows iproute2's short form of a path: m:globals/x is /sys/fs/bpf/tc/globals/x.
func (s *Server) path(path string) string {
	if rest, ok := strings.CutPrefix(path, "m:"); ok {
		return workDir + "/" + strings.TrimPrefix(rest, "/")
	}
	return path
}

// bytecode makes a program of a classic one, "count,code jt jf k,…".
func (s *Server) bytecode(text string, typ catalog.ProgType) (loaded, error) {
	prog, err := classic.Read("bytecode", []byte(text), binary.NativeEndian, nil)
	if err != nil {
		return loaded{}, err
	}
	insns, err := classic.Translate(prog, classic.Socket)
	if err != nil {
		return loaded{}, fmt.Errorf("bytecode: %w", err)
	}
	img := &image.Image{Name: "bytecode", License: "GPL", Programs: []*image.Program{{Name: "bytecode", Type: typ, Insns: insns}}}
	coll, err := s.mach.LoadCollection(img)
	if err != nil {
		return loaded{}, err
	}
	defer coll.Close()
	p := unwrap.Run(coll.Programs["bytecode"])
	p.Acquire()
	code := fmt.Sprint(len(prog)) // as tc prints it, however it was written
	for _, ins := range prog {
		code += fmt.Sprintf(",%d %d %d %d", ins.Code, ins.Jt, ins.Jf, ins.K)
	}
	return loaded{prog: p, code: code}, nil
}

// Places of iproute2's pinned maps.
const (
	workDir    = "/sys/fs/bpf/tc"
	globalsDir = workDir + "/globals"
)

// objectLoad carries one object file into the machine by iproute2's rules: one
// program, and those that go into its program arrays.
type objectLoad struct {
	s    *Server
	r    *request
	o    *Object
	typ  catalog.ProgType
	img  *image.Image
	dir  string // of maps in the object's own namespace
	maps map[string]*skep.Map
}

func (l *objectLoad) close() {
	for _, m := range l.maps {
		m.Close()
	}
}

func (l *objectLoad) run(file *os.File) (loaded, error) {
	var err error
	if l.img, err = l.s.mach.LoadImage(file, l.o.File); err != nil {
		return loaded{}, err
	}
	section := l.o.Section
	if section == "" {
		section = defaultSections[l.typ]
	}
	main := l.find(section)
	if main == nil {
		if l.o.Program != "" {
			return loaded{}, refuse(errno.ENOENT, fmt.Sprintf("object file doesn't contain prog %s", l.o.Program))
		}
		return loaded{}, refuse(errno.ENOENT, fmt.Sprintf("object file doesn't contain sec %s%s", section, l.has()))
	}
	tails := l.tails(main)
	names := []string{main.Name}
	for _, t := range tails {
		names = append(names, t.prog.Name)
	}
	for _, p := range l.img.Programs {
		if p == main || isTail(tails, p) {
			if p.Type != l.typ {
				p.Attach = 0
			}
			p.Type = l.typ
		}
	}
	if l.dir, err = objectDir(file); err != nil {
		return loaded{}, err
	}
	if err := l.reuse(); err != nil {
		return loaded{}, err
	}
	opts := skep.CollectionOptions{Programs: names, Maps: l.maps}
	if l.o.Verbose {
		opts.LogLevel = 1
	}
	coll, err := l.s.mach.LoadCollectionWithOptions(l.img, opts)
	if err != nil {
		if refused := (*skep.VerifierError)(nil); l.o.Verbose && errors.As(err, &refused) {
			err = errors.Join(err, l.r.send(LoadLog{refused.Log}))
		}
		return loaded{}, err
	}
	defer coll.Close()
	if err := l.pin(coll); err != nil {
		return loaded{}, err
	}
	for _, t := range tails {
		if err := coll.Maps[t.array.Name].Put(t.key, coll.Programs[t.prog.Name]); err != nil {
			return loaded{}, fmt.Errorf("section %s: %w", t.prog.Section, err)
		}
	}
	p := coll.Programs[main.Name]
	out := loaded{prog: unwrap.Run(p), name: filepath.Base(l.o.File) + ":[" + main.Section + "]"}
	if l.o.Program != "" {
		out.name = filepath.Base(l.o.File) + ":[" + l.o.Program + "]"
	}
	if l.o.Verbose {
		out.log = p.VerifierLog()
	}
	out.prog.Acquire()
	return out, nil
}

func (l *objectLoad) find(section string) *image.Program {
	for _, p := range l.img.Programs {
		if l.o.Program != "" && p.Name == l.o.Program || l.o.Program == "" && p.Section == section {
			return p
		}
	}
	return nil
}

// has lists the object's sections, for whoever asked for another.
func (l *objectLoad) has() string {
	var all []string
	for _, p := range l.img.Programs {
		all = append(all, p.Section)
	}
	if len(all) == 0 {
		return ": it has no programs"
	}
	return ": it has " + strings.Join(all, ", ")
}

// tail is a program of a section "id/key": it goes into the program array with that
// id at that key (iproute2's __section_tail).
type tail struct {
	prog  *image.Program
	array *image.Map
	key   uint32
}

// tails returns those of the object, but main.
func (l *objectLoad) tails(main *image.Program) []tail {
	var out []tail
	for _, p := range l.img.Programs {
		id, key, ok := tailSection(p.Section)
		if !ok || p == main {
			continue
		}
		for _, m := range l.img.Maps {
			if m.ID == id && m.ID != 0 && m.Type == catalog.MapProgArray {
				out = append(out, tail{p, m, key})
			}
		}
	}
	return out
}

func isTail(tails []tail, p *image.Program) bool {
	for _, t := range tails {
		if t.prog == p {
			return true
		}
	}
	return false
}

// tailSection reads "id/key", in decimal, hex or octal.
func tailSection(section string) (id, key uint32, ok bool) {
	a, b, ok := strings.Cut(section, "/")
	if !ok {
		return 0, 0, false
	}
	_, err1 := fmt.Sscanf(a+"\n", "%v\n", &id)
	_, err2 := fmt.Sscanf(b+"\n", "%v\n", &key)
	return id, key, err1 == nil && err2 == nil
}

// pinPath is where a map is to be found, "" for one that is not pinned.
func (l *objectLoad) pinPath(m *image.Map) string {
	switch m.Pinning {
	case image.PinByName, image.PinGlobal:
		return globalsDir + "/" + m.Name
	case image.PinObject:
		return l.dir + "/" + m.Name
	}
	return ""
}

// reuse opens the maps that are pinned already, which have to be as the object
// defines them.
func (l *objectLoad) reuse() error {
	l.maps = map[string]*skep.Map{}
	for _, m := range l.img.Maps {
		path := l.pinPath(m)
		if path == "" {
			continue
		}
		o, e := l.r.Names.Get(path)
		if e == errno.ENOENT {
			continue
		}
		if e != 0 {
			return refuse(e, fmt.Sprintf("map '%s': %s: %s", m.Name, path, e.Error()))
		}
		pinned, ok := o.(bpfsys.Map)
		if !ok {
			o.Close()
			return refuse(errno.EINVAL, fmt.Sprintf("couldn't reuse pinned map at '%s': it is no map", path))
		}
		l.maps[m.Name] = unwrap.Handle(l.s.mach, pinned.Map).(*skep.Map)
		if diff := differs(m.Def(l.s.mach.CPUs()), pinned.Def()); diff != "" {
			return refuse(errno.EINVAL, fmt.Sprintf("couldn't reuse pinned map at '%s': parameter mismatch: %s", path, diff))
		}
	}
	return nil
}

// differs tells a map of an object from a pinned one, "" if they are alike.
func differs(obj, pin *catalog.MapDef) string {
	var out []string
	if obj.Type != pin.Type {
		out = append(out, fmt.Sprintf("type %s (obj) != %s (pin)", obj.Type, pin.Type))
	}
	for _, f := range []struct {
		what     string
		obj, pin uint32
	}{{"size key", obj.KeySize, pin.KeySize}, {"size value", obj.ValueSize, pin.ValueSize},
		{"max elems", obj.MaxEntries, pin.MaxEntries}, {"flags", obj.Flags, pin.Flags}} {
		if f.obj != f.pin {
			out = append(out, fmt.Sprintf("%s %d (obj) != %d (pin)", f.what, f.obj, f.pin))
		}
	}
	return strings.Join(out, ", ")
}

// pin gives the object's new maps the names they ask for.
func (l *objectLoad) pin(coll *skep.Collection) error {
	for _, m := range l.img.Maps {
		path := l.pinPath(m)
		if path == "" || l.maps[m.Name] != nil || coll.Maps[m.Name] == nil {
			continue
		}
		if err := l.r.Names.Mkdir(filepath.Dir(path)); err != nil {
			return fmt.Errorf("map %s: %s: %w", m.Name, filepath.Dir(path), err)
		}
		o, err := l.s.object(coll.Maps[m.Name])
		if err != nil {
			return err
		}
		e := l.r.Names.Pin(path, o)
		o.Close()
		if e != 0 {
			return refuse(e, fmt.Sprintf("map '%s': pinning at '%s': %s", m.Name, path, e.Error()))
		}
	}
	return nil
}

// object is a map as descriptors and names have it, with a handle of its own.
func (s *Server) object(m *skep.Map) (bpfsys.Map, error) {
	mp, err := unwrap.Map(m)
	if err != nil {
		return bpfsys.Map{}, err
	}
	defer mp.Close()
	return s.sys.MapObject(mp), nil
}

// graft puts a program into a pinned program array, in the place of the one that
// is there: packets meet the one or the other.
func (s *Server) graft(r *request, a *Graft) error {
	typ := catalog.ProgSchedCls
	switch a.Type {
	case "", "cls":
	case "act":
		typ = catalog.ProgSchedAct
	case "xdp":
		typ = catalog.ProgXDP
	default:
		return refuse(errno.EINVAL, fmt.Sprintf("type %q: it is cls, act or xdp", a.Type))
	}
	o, e := r.Names.Get(s.path(a.Map))
	if e != 0 {
		return refuse(e, fmt.Sprintf("Couldn't retrieve pinned map '%s': %s", a.Map, e.Error()))
	}
	array, ok := o.(bpfsys.Map)
	if !ok {
		o.Close()
		return refuse(errno.EINVAL, fmt.Sprintf("'%s' is no map", a.Map))
	}
	m := unwrap.Handle(s.mach, array.Map).(*skep.Map)
	defer m.Close()
	if m.Type() != catalog.MapProgArray {
		return refuse(errno.EINVAL, fmt.Sprintf("Map '%s' self-check failed: type %s (obj) != %s (pin)", a.Map, catalog.MapProgArray, m.Type()))
	}
	if a.Key == nil {
		_, key, ok := tailSection(a.Object.Section)
		if !ok {
			return refuse(errno.EINVAL, "Couldn't infer map key from section name! Please provide 'key' argument!")
		}
		a.Key = &key
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	l, err := s.load(r, &a.Object, r.file(0), typ)
	if err != nil {
		return err
	}
	p := s.hold(l.prog)
	defer s.release(p)
	if err := m.Put(*a.Key, p.handle); err != nil {
		return fmt.Errorf("Map update failed: %w", err)
	}
	return r.log(l)
}

// file returns one of the request's files, or nil.
func (r *request) file(i int) *os.File {
	if i < len(r.Files) {
		return r.Files[i]
	}
	return nil
}

// log sends what the verifier said, if it was asked for.
func (r *request) log(l loaded) error {
	if l.log == "" {
		return nil
	}
	return r.send(LoadLog{l.log})
}

// objectDir is the directory of an object's own maps (PIN_OBJECT_NS): it is named by the file's hash.
func objectDir(file *os.File) (string, error) {
	h := sha1.New()
	if _, err := io.Copy(h, io.NewSectionReader(file, 0, 1<<40)); err != nil {
		return "", err
	}
	return workDir + "/" + hex.EncodeToString(h.Sum(nil)), nil
}
