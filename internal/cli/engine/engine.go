// Package engine runs an image's programs on the engine a command was told:
// skep's own, or the Linux kernel beneath. Both sides of a command
// that compares them look the same from here.
package engine

import (
	"errors"
	"fmt"
	"time"

	"github.com/cilium/ebpf/btf"

	"github.com/skep-bpf/skep/image"
	"github.com/skep-bpf/skep/internal/catalog"
)

// Names of the engines, the values of --engine.
const (
	Skep  = "skep"
	Linux = "linux"
)

// ErrNotRun is what Program.Run wraps when the engine takes programs of this
// type but not this packet (too short or too long for a test run): the next
// packet may do.
var ErrNotRun = errors.New("packet cannot be run")

// Collection is an image's maps, made, and its programs, ready to be loaded.
type Collection interface {
	// Load verifies and loads one program, with those that tail calls reach.
	Load(p *image.Program) (Program, error)
	// Verify asks the verifier about one program, without keeping it.
	Verify(p *image.Program, logLevel uint32) (*Verdict, error)
	// Map returns the map made of m, nil for one that is made on demand only.
	Map(m *image.Map) Map
	// SetSlot puts a loaded program into a program array.
	SetSlot(m *image.Map, key uint32, p Program) error
	// SetInner puts a map into a map of maps.
	SetInner(m *image.Map, key []byte, inner *image.Map) error
	// NameOf returns the name of the program or map that an element of m, a map of
	// such, refers to by id; "" when it is none of the collection's.
	NameOf(m *image.Map, id uint32) string
	// Traced returns the lines programs printed since the last call.
	Traced() ([]string, error)
	// Events calls f for each record that programs wrote to user space through a
	// map since the last call; lost counts records before it that found no room,
	// for which there is a call with an empty record.
	Events(f func(m *image.Map, record []byte, lost uint64)) error
	Close() error
}

// Verdict is what the verifier says of a program.
type Verdict struct {
	Log     string // at the level asked for, bit 4 (statistics) added
	Refused error  // nil: accepted
}

// Program is a loaded program.
type Program interface {
	// Run runs the program on one packet that came at the given time. The
	// result's Data is valid until the next call.
	Run(packet []byte, at time.Time) (Result, error)
	// Bulk makes room for n packets to be run on together, nil where that is
	// not the same as running on one after the other, or the engine has no such way.
	Bulk(n int) (Bulk, error)
}

// Bulk is packets that a program is run on by one call.
type Bulk interface {
	// Set makes packet the i-th; the error is as [Program.Run]'s.
	Set(i int, packet []byte) error
	// Run runs the program on the first n packets in turn. It returns how many runs came
	// to their end, all if there is no error, and the time within the program.
	Run(n int) (done int, took time.Duration, err error)
	// Result is what became of packet i; Took is not told. Data is valid until the next Set of i.
	Result(i int) Result
	Close()
}

// Result is what became of a packet.
type Result struct {
	Ret  uint32
	Data []byte // the packet afterwards, if Options.Output asks for it
	Took time.Duration
}

// Map is a map's content as bytes: keys in the kernel's layout, values as
// lookups of bpf(2) give them, one per CPU where the map has one per CPU.
type Map interface {
	// NextKey writes the key after key into next, the first after nil; at the end
	// the error is errno.ENOENT.
	NextKey(key, next []byte) error
	Lookup(key []byte) (value []byte, err error)
	Update(key, value []byte) error
	// Pop takes an element out of a queue or stack; errno.ENOENT: it is empty.
	Pop() (value []byte, err error)
	// PerCPU says whether an element has a value for each possible CPU, and CPUs
	// how many it has: 1 if not.
	PerCPU() bool
	CPUs() int
}

// Options say how to run. The zero value is what a plain command line means.
type Options struct {
	CPUs  int    // possible CPUs
	Seed  uint64 // of the random source; 0: another one each time
	Clock Clock
	// KernelBTF are the kernel types kfuncs and BTF pointers mean; nil: this machine's.
	KernelBTF *btf.Spec
	// Output asks for the packets afterwards (Result.Data), which cost time.
	Output bool
	// Checked looks at every access, argument and claim of the verifier while programs run.
	Checked bool
	// Unprivileged verifies by the rules for callers without capabilities.
	Unprivileged bool
	// LinkHeader shows socket filters the link header, as packet sockets do; else
	// they begin at the network header, as in a test run.
	LinkHeader bool
	// Repeat runs a program so many times on each packet; 0 is once. Counters
	// count each, the result is the last one's.
	Repeat uint32
	// VerifyOnly says that no program will be loaded, so that maps that user space
	// has not are no hindrance.
	VerifyOnly bool
}

// Clock says what a program's clocks show.
type Clock int

// Clocks.
const (
	RealClock   Clock = iota // this machine's
	FixedClock               // always the same
	PacketClock              // the time the packet was captured
)

// LoadImage reads an object file. The kernel types it is relocated against, and
// that o will name to the engine, come from the file btfFile; "" means this machine's.
func (o *Options) LoadImage(object, btfFile string) (*image.Image, error) {
	var opts image.Options
	if btfFile != "" {
		spec, err := btf.LoadSpec(btfFile)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", btfFile, err)
		}
		o.KernelBTF = spec
		opts.TargetBTF = func() (*btf.Spec, error) { return spec, nil }
	}
	return image.LoadFile(object, &opts)
}

// Names are the engines there are.
var Names = []string{Skep, Linux}

// ByName returns the function that makes a collection on one of Names.
func ByName(name string) func(*image.Image, *Options) (Collection, error) {
	if name == Linux {
		return newLinux
	}
	return newSkep
}

// ProgramNames are the names of programs, in their order.
func ProgramNames(programs []*image.Program) []string {
	names := make([]string, len(programs))
	for i, p := range programs {
		names[i] = p.Name
	}
	return names
}

// givesEvents says whether a map is a way to user space.
func givesEvents(m *image.Map) bool {
	return m.Type == catalog.MapRingBuf || m.Type == catalog.MapPerfEventArray
}

// holdsPrograms says whether the elements of a map are programs; else, in maps
// that hold ids, they are maps.
func holdsPrograms(m *image.Map) bool { return m.Type == catalog.MapProgArray }
