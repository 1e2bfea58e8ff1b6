package maps

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"sync/atomic"

	"github.com/cilium/ebpf/btf"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/mem"
)

// shm is the memory of a map that several processes have: a file, which each maps where it
// likes. Its first page says what the map is, so that the file alone is enough to open it:
//
//	  0         facts: what the map is, see shmFacts
//	┌─────────────────────────────────────────────────┐
//	│ "skep map" │ version │ type │ key size │ …      │
//	├────────┬────────────────────────────────────────┤ 128
//	│ frozen │ words that the type's own code has     │
//	├────────┴────────────────────────────────────────┤ 1024
//	│ generations of the seats, 32 bits each          │
//	└─────────────────────────────────────────────────┘ 2048
//
// The facts are read once, from a copy, and checked. All that follows can
// change at any moment to anything, because another process may be broken or hostile: who reads a number there bounds it before it
// is used, and no wait for a word there is without end.
type shm struct {
	file  *mem.Shared
	page  *mem.Block // the first page; nil of sealed files
	facts shmFacts
	seat  int
	token uint32 // of this process's seat, see seats.go
	fresh bool   // nobody else knows the file yet
	// values is where values with locks lie; nil: there are none.
	values *mem.Block
}

// shmFacts is what the first page begins with, field by field, without gaps.
type shmFacts struct {
	Magic                                       [8]byte
	Version                                     uint32
	Type, KeySize, ValueSize, MaxEntries, Flags uint32
	CPUs, Seed                                  uint32
	Name                                        [16]byte
	_, Sharers                                  uint32 // of per-CPU types: processes, each of which has CPUs of its own
	Size                                        uint64 // of the file, in bytes
}

// Offsets in the first page.
const (
	shmFrozen  = 128 // 1: the control side writes no more
	shmType    = 136 // 64-bit words of the type's own
	shmSeats   = 1024
	shmVersion = 1
)

var shmMagic = [8]byte([]byte("skep map"))

// sharer is what a map type's file binds to have its maps shared between processes.
type sharer struct {
	// size is how many bytes of the file lie behind its first page, known from the facts alone. cpus are
	// those of all processes.
	size func(def *catalog.MapDef, cpus int) (uint64, bool)
	// make builds the map over c.shm, whose memory is all zero if it is fresh.
	make func(c *core) (Map, errno.Errno)
}

// SharedError says that a map cannot be shared between processes. errors.Is(err, errors.ErrUnsupported) holds.
type SharedError struct {
	Name string
	Why  string
}

// Is makes it an [errors.ErrUnsupported].
func (e *SharedError) Is(target error) bool { return target == errors.ErrUnsupported }

func (e *SharedError) Error() string {
	return fmt.Sprintf("map %s cannot be shared with other processes: %s", e.Name, e.Why)
}

// Shareable says why maps like def cannot be shared between processes; nil: they can.
func Shareable(def *catalog.MapDef) error {
	k := kinds[def.Type]
	if k == nil || k.shared == nil {
		return &SharedError{def.Name, fmt.Sprintf("those of type %s are of one process alone", def.Type)}
	}
	special := def.Special
	if special == nil && def.Value != nil {
		special = mapFields(def.Value)
	}
	for _, f := range special {
		if f.Kind == catalog.SpecialSpinLock && (def.Type == catalog.MapArray || def.Type == catalog.MapHash) {
			continue
		}
		return &SharedError{def.Name, fmt.Sprintf("its values hold a %s, which is of one process alone", f.Kind)}
	}
	return nil
}

// newShm makes the memory of a map.
func newShm(c *core, k *kind) (*shm, error) {
	if err := Shareable(&c.def); err != nil {
		return nil, err
	}
	s := &shm{fresh: true, facts: shmFacts{
		Magic: shmMagic, Version: shmVersion, Type: uint32(c.def.Type), KeySize: c.def.KeySize,
		ValueSize: c.def.ValueSize, MaxEntries: c.def.MaxEntries, Flags: c.def.Flags,
	}}
	if c.row.Traits&catalog.PerCPU != 0 {
		s.facts.CPUs, s.facts.Sharers = uint32(c.cfg.cpus()), min(max(c.def.Sharers, 1), maxSeats)
		c.cfg = s.facts.config(c.cfg)
	}
	c.def.Sharers = s.facts.Sharers
	n, ok := k.shared.size(&c.def, c.cfg.cpus())
	if !ok || n > maxMapBytes {
		return nil, errno.ENOMEM
	}
	s.facts.Size = pageSize + (n+pageSize-1)&^(pageSize-1)
	if c.def.Flags&catalog.FlagZeroSeed == 0 {
		s.facts.Seed = c.cfg.seed()
	}
	copy(s.facts.Name[:15], c.def.Name)
	var err error
	if s.file, err = mem.NewShared(int64(s.facts.Size)); err != nil {
		return nil, err
	}
	return s, s.open(s.facts.encode())
}

// config is what a per-CPU map of several processes has for a machine's: the CPUs of all.
func (f *shmFacts) config(cfg *Config) *Config {
	all := *cfg
	all.CPUsHere, all.CPUs = cfg.cpus(), int(f.CPUs*f.Sharers)
	return &all
}

// seats is how many processes may have the map at once, each of which has CPUs of its own in per-CPU maps.
func (f *shmFacts) seats() int {
	if f.Sharers != 0 {
		return int(f.Sharers)
	}
	return maxSeats
}

// firstCPU is the number, among those of all processes, of this one's first.
func (s *shm) firstCPU() int { return s.seat * int(s.facts.CPUs) }

// open maps the first page and takes a seat; head, if not nil, is written to it.
func (s *shm) open(head []byte) (err error) {
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	if s.page, err = s.file.Map(0, int(pageSize)); err != nil {
		return err
	}
	copy(s.page.Bytes(), head)
	return s.sit()
}

func (f *shmFacts) encode() []byte {
	var b bytes.Buffer
	if binary.Write(&b, binary.NativeEndian, f) != nil {
		panic("BUG: facts of a map without a fixed size")
	}
	return b.Bytes()
}

// OpenShared makes a map of the memory another process shares, which f is. f stays the caller's. key and value are
// types that somebody says the map has, or nil.
func OpenShared(cfg *Config, f *os.File, key, value btf.Type) (Map, error) {
	s := &shm{}
	var err error
	if s.file, err = mem.OpenShared(f); err != nil {
		if errors.Is(err, mem.ErrNotShared) {
			err = bad("the file is %w", err)
		}
		return nil, err
	}
	m, err := s.openMap(cfg, key, value)
	if err != nil {
		s.close()
	}
	return m, err
}

// ErrBadShared says that shared memory does not hold the map that it says it holds.
var ErrBadShared = errors.New("shared memory holds no map that this skep knows")

func bad(format string, args ...any) error {
	return fmt.Errorf("%w: %w", ErrBadShared, fmt.Errorf(format, args...))
}

func (s *shm) openMap(cfg *Config, key, value btf.Type) (Map, error) {
	head := make([]byte, binary.Size(&s.facts))
	if _, err := s.file.ReadAt(head, 0); err != nil {
		return nil, bad("its first page cannot be read: %v", err)
	}
	if _, err := binary.Decode(head, binary.NativeEndian, &s.facts); err != nil {
		return nil, bad("%v", err)
	}
	f := &s.facts
	switch {
	case f.Magic != shmMagic:
		return nil, bad("it does not begin with %q", shmMagic)
	case f.Version != shmVersion:
		return nil, bad("it is laid out as version %d has it, this is version %d", f.Version, shmVersion)
	}
	name, _, _ := bytes.Cut(f.Name[:], []byte{0})
	def := catalog.MapDef{Type: catalog.MapType(f.Type), KeySize: f.KeySize, ValueSize: f.ValueSize,
		MaxEntries: f.MaxEntries, Flags: f.Flags, Name: string(name)}
	k := kinds[def.Type]
	row := catalog.MapKindByType(def.Type)
	if k == nil || row == nil || k.shared == nil {
		return nil, bad("its type is %s", def.Type)
	}
	if !catalog.ValidName(def.Name) {
		return nil, bad("its name is %q", name)
	}
	if !typeFits(key, f.KeySize) || !typeFits(value, f.ValueSize) || key != nil && value == nil {
		return nil, bad("its types are not as large as its keys and values")
	}
	def.Shared, def.Key, def.Value = true, key, value
	if err := Shareable(&def); err != nil {
		return nil, bad("%v", err)
	}
	want := def
	if k.refuse(row, &def) != 0 || settle(cfg, &def) != 0 || def.Flags != want.Flags || def.MaxEntries != want.MaxEntries {
		return nil, bad("a %s has no keys of %d, values of %d bytes, %d entries, flags %#x", def.Type, f.KeySize, f.ValueSize, f.MaxEntries, f.Flags)
	}
	perCPU := row.Traits&catalog.PerCPU != 0
	if perCPU != (f.Sharers != 0) || f.Sharers > maxSeats || perCPU != (f.CPUs != 0) || f.CPUs > maxCPUs {
		return nil, bad("it is for %d processes of %d CPUs", f.Sharers, f.CPUs)
	}
	if perCPU {
		def.Sharers = f.Sharers
		if int(f.CPUs) < cfg.cpus() {
			return nil, fmt.Errorf("map %s has room for %d CPUs in each process, the machine has %d", def.Name, f.CPUs, cfg.cpus())
		}
		cfg = f.config(cfg)
	}
	n, ok := k.shared.size(&def, cfg.cpus())
	if !ok || n > maxMapBytes || f.Size != uint64(s.file.Size()) || f.Size != pageSize+(n+pageSize-1)&^(pageSize-1) {
		return nil, bad("its file has %d bytes", s.file.Size())
	}
	c := newCore(cfg, row, def)
	c.shm = s
	if s.file.Sealed() {
		if k.sealed == nil || def.Flags&catalog.FlagRdonlyProg == 0 {
			return nil, bad("it is sealed, and programs would write it")
		}
		return c.build(k.sealed)
	}
	if err := s.open(nil); err != nil {
		return nil, err
	}
	return c.build(k.shared.make)
}

// typeFits reports whether a type is of a size; no type is.
func typeFits(t btf.Type, size uint32) bool {
	if t == nil {
		return true
	}
	n, err := btf.Sizeof(t)
	return err == nil && n >= 0 && uint32(n) == size
}

// Hand returns the file that another process opens with [OpenShared], for the caller to close.
// A frozen array that programs only read is handed over as a copy that nobody can change, so that a verifier may go by its content.
func Hand(m Map) (*os.File, error) {
	c := Unwrap(m).(interface{ itself() *core }).itself()
	if c.constant() && (c.shm == nil || !c.shm.file.Sealed()) {
		return c.sealedCopy()
	}
	if c.shm != nil {
		return c.shm.file.Hand()
	}
	if err := Shareable(&c.def); err != nil {
		return nil, err
	}
	return nil, &SharedError{c.def.Name, "it was not made to be (CollectionOptions.Share)"}
}

func (c *core) itself() *core { return c }

// constant reports whether nobody writes the map any more.
func (c *core) constant() bool {
	return c.frozen.Load() && c.writers.Load() == 0 && c.def.Flags&catalog.FlagRdonlyProg != 0 && kinds[c.def.Type].sealed != nil
}

// sealedCopy makes the file of a map that is constant.
func (c *core) sealedCopy() (*os.File, error) {
	values := c.impl.(interface{ Memory() []byte }).Memory()
	f := shmFacts{Magic: shmMagic, Version: shmVersion, Type: uint32(c.def.Type), KeySize: c.def.KeySize,
		ValueSize: c.def.ValueSize, MaxEntries: c.def.MaxEntries, Flags: c.def.Flags}
	copy(f.Name[:15], c.def.Name)
	content := make([]byte, (pageSize+uint64(len(values))+pageSize-1)&^(pageSize-1))
	f.Size = uint64(len(content))
	copy(content, f.encode())
	copy(content[pageSize:], values)
	s, err := mem.NewSealed(content)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	return s.Hand()
}

// word32 and word64 are words of the first page.
func (s *shm) word32(off uint64) *uint32 { return (*uint32)(mem.Ptr(s.page.Addr() + off)) }

func (s *shm) word64(off uint64) *uint64 { return (*uint64)(mem.Ptr(s.page.Addr() + off)) }

// frozen reports whether a process has frozen the map.
func (s *shm) frozen() bool { return s.page == nil || atomic.LoadUint32(s.word32(shmFrozen)) != 0 }

func (s *shm) freeze() { atomic.StoreUint32(s.word32(shmFrozen), 1) }

// close gives up what open and newShm took.
func (s *shm) close() {
	if s.page != nil {
		s.page.Free()
	}
	if s.file != nil {
		s.file.Close()
	}
}
