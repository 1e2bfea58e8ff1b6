// Package run is where programs run: vCPUs, execution contexts, tail calls,
// timers and statistics. It joins the engines with maps, helpers and packets.
//
//	Machine          clocks, chance, maps and programs by id, timers
//	 └─ CPU          one run at a time: engine state, stack, helpers.Env, packet
//	     └─ Program  a rewritten program made ready for the engine
//
// A caller acquires a CPU, runs programs on it and releases it. With a fixed
// clock, seed and CPU, what a run does is repeatable bit for bit.
package run

import (
	crand "crypto/rand"
	"encoding/binary"
	"math/rand/v2"
	"os"
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/cilium/ebpf/btf"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/helpers"
	jitcode "github.com/skep-bpf/skep/internal/jit/code"
	"github.com/skep-bpf/skep/internal/maps"
	"github.com/skep-bpf/skep/internal/mem"
	"github.com/skep-bpf/skep/internal/packet"
	"github.com/skep-bpf/skep/internal/socket"
)

// Options make a Machine. The zero value is a machine with the system's clock,
// a random seed and as many CPUs as Go uses.
type Options struct {
	CPUs    int    // possible CPUs; 0: GOMAXPROCS
	Clock   Clock  // nil: the system's
	Seed    uint64 // of get_prandom_u32 and hash seeds, when Seeded
	Seeded  bool
	Net     packet.Net       // nil: a loopback device alone
	Process *helpers.Process // nil: a process without attributes
	// Trace takes what trace_printk and trace_vprintk write; nil: it is dropped.
	Trace func(TraceLine)
	// Checked runs programs in the interpreter's checked mode.
	Checked bool
	// JIT chooses between native code and the interpreter.
	JIT JIT
	// Retpolines and Seal harden native code: see [jit.Options].
	Retpolines, Seal bool
	// PerfMap and GDB tell perf and debuggers of native code.
	PerfMap, GDB bool
	// Labels has CPU profiles tell programs apart, see [LabelKey].
	Labels bool
	// Budget bounds each run, in instructions on backward jumps and calls; 0: none.
	Budget int64
	// Share keeps maps' memory that user space maps where other processes can map it.
	Share bool
	// XSK resolves AF_XDP sockets for xskmaps; nil: those of Machine.XSKs.
	XSK func(fd uint32) (maps.Socket, error)
}

// TraceLine is one line a program traced.
type TraceLine struct {
	CPU  int
	Prog *helpers.Prog
	Time uint64 // monotonic clock, ns
	Text []byte // valid during the call
}

// Machine is everything programs share. It is the [helpers.Host] of its CPUs.
type Machine struct {
	// Epoch says when memory that programs could reach may be reused.
	Epoch *mem.Epoch
	// Maps are the machine's maps by id and address.
	Maps maps.Registry
	// Sockets are the sockets that maps and programs know.
	Sockets     socket.Table
	kernelSocks kernelSocks
	// XSKs are the machine's AF_XDP sockets.
	XSKs maps.Sockets
	// Objects are the tasks, inodes and control groups that maps keep values with.
	Objects maps.Objects
	// Ops are the structures that struct_ops maps registered.
	Ops maps.OpsTable

	opts   Options
	clock  Clock
	config maps.Config
	engine engine
	cpus   []*CPU
	timers *timers
	users  users
	stats  atomic.Bool
	// cookies of sockets, where the network draws none
	cookies atomic.Uint64
	groups  groups

	secrets struct { // what Secret draws
		sync.Mutex
		*rand.ChaCha8
	}

	waiters     atomic.Int32 // callers of Acquire who found every CPU busy
	mu          sync.Mutex   // with idle, and around progs
	idle        *sync.Cond
	progs       map[uint32]*Program
	lastID      uint32
	tracing     sync.Mutex // around what is attached to programs
	kernelFuncs kernelFuncs
	events      events

	types func(raw []byte) Types // nil: nobody keeps them
}

// New makes a machine.
func New(o Options) (*Machine, error) {
	if o.CPUs <= 0 {
		o.CPUs = runtime.GOMAXPROCS(0)
	}
	if o.Clock == nil {
		o.Clock = SystemClock()
	}
	if !o.Seeded {
		o.Seed = rand.Uint64()
	}
	var key [32]byte
	if o.Seeded {
		binary.LittleEndian.PutUint64(key[:], o.Seed)
	} else {
		crand.Read(key[:]) // never fails
	}
	if o.Net == nil {
		o.Net = packet.NewStaticNet()
	}
	if o.Process == nil {
		o.Process = &helpers.Process{}
	}
	eng, err := chooseEngine(&o)
	if err != nil {
		return nil, err
	}
	m := &Machine{Epoch: mem.NewEpoch(o.CPUs), opts: o, clock: o.Clock, engine: eng, progs: map[uint32]*Program{}}
	m.idle = sync.NewCond(&m.mu)
	m.events.all = map[string]*Event{}
	m.events.printk = m.Event("bpf_trace_printk")
	m.timers = newTimers(m)
	m.Sockets.Retire = m.Epoch.Retire
	m.secrets.ChaCha8 = rand.NewChaCha8(key)
	hashSeed := rand.New(rand.NewPCG(o.Seed, 0))
	var seedLock sync.Mutex
	if o.XSK == nil {
		o.XSK = m.xskByFD
	}
	m.config = maps.Config{
		CPUs: o.CPUs, Epoch: m.Epoch, XSK: o.XSK, Share: o.Share,
		Seed: func() uint32 {
			seedLock.Lock()
			defer seedLock.Unlock()
			return hashSeed.Uint32()
		},
		Map:       m.mapByFD,
		Prog:      m.progByFD,
		Sock:      m.sockByFD,
		SockAt:    m.Sockets.At,
		Object:    m.Objects.ByNumber,
		Ops:       &m.Ops,
		FreeField: m.freeField,
	}
	if dev, ok := o.Net.(*packet.StaticNet); ok {
		m.config.Device = func(ifindex uint32) bool { return dev.Device(ifindex) != nil }
	}
	for id := range o.CPUs {
		c, err := newCPU(m, id)
		if err != nil {
			m.Close()
			return nil, err
		}
		m.cpus = append(m.cpus, c)
	}
	return m, nil
}

// Close stops timers and frees the CPUs. No program may be running any more;
// maps and programs are closed by whoever made them.
func (m *Machine) Close() {
	m.timers.close()
	for _, c := range m.cpus {
		c.close()
	}
	m.cpus = nil
	m.Epoch.Reclaim() // what nobody would ask for any more
}

// NewMap makes a map and gives it an id. The caller holds a handle on it, to be
// given back by CloseMap.
func (m *Machine) NewMap(def catalog.MapDef) (maps.Map, error) {
	mp, err := maps.New(&m.config, def)
	return m.newMap(mp, err)
}

// OpenMap is NewMap of a map that another process has, see [maps.OpenShared]. key and value are its types, or nil.
func (m *Machine) OpenMap(f *os.File, key, value btf.Type) (maps.Map, error) {
	mp, err := maps.OpenShared(&m.config, f, key, value)
	return m.newMap(mp, err)
}

func (m *Machine) newMap(mp maps.Map, err error) (maps.Map, error) {
	if err != nil {
		return nil, err
	}
	if err := m.Maps.Add(mp); err != nil {
		mp.Close()
		return nil, err
	}
	if inner := maps.Unwrap(mp); keepsPrograms(inner) {
		m.users.add(inner, 1)
	}
	return mp, nil
}

// Secret draws a number that nobody who loads programs can foresee, unless the
// machine was given its seed: what hides constants in native code.
func (m *Machine) Secret() uint32 {
	m.secrets.Lock()
	defer m.secrets.Unlock()
	return uint32(m.secrets.Uint64())
}

// What stands in a value for a descriptor that names nothing, or something of another kind.
const (
	NoDescriptor    uint32 = 0
	OtherDescriptor uint32 = 1<<32 - 1
)

// byFD is why no object has the id.
func byFD(fd uint32) errno.Errno {
	if fd == OtherDescriptor {
		return errno.EINVAL
	}
	return errno.EBADF
}

// mapByFD and progByFD resolve what user code writes into maps of maps and
// program arrays: in one process an id is descriptor enough.
func (m *Machine) mapByFD(fd uint32) (maps.Map, error) {
	if mp := m.Maps.Get(fd); mp != nil {
		return mp, nil
	}
	return nil, byFD(fd)
}

func (m *Machine) progByFD(fd uint32) (maps.Prog, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if p := m.progs[fd]; p != nil {
		p.Acquire()
		return p, nil
	}
	return nil, byFD(fd)
}

// NoSocket stands in a value for a descriptor of something that is no socket.
const NoSocket uint32 = 1<<31 - 1

// OtherSocket stands in a value for a socket that is not of AF_XDP, where one of these is to be.
const OtherSocket = NoSocket - 1

func (m *Machine) xskByFD(fd uint32) (maps.Socket, error) {
	switch fd {
	case NoSocket:
		return nil, errno.ENOTSOCK
	case OtherSocket:
		return nil, errno.EOPNOTSUPP
	}
	return m.XSKs.Get(fd)
}

func (m *Machine) sockByFD(fd uint32) (*socket.Socket, error) {
	if s := m.Sockets.Get(fd); s != nil {
		return s, nil
	}
	if fd == NoSocket {
		return nil, errno.ENOTSOCK
	}
	return nil, errno.EBADF
}

func (m *Machine) freeField(f catalog.SpecialField, addr uint64) {
	if f.Kind == catalog.SpecialTimer {
		m.timers.free(addr)
	}
}

// CountTime turns the measuring of run times on or off (BPF_ENABLE_STATS). Runs
// are always counted.
func (m *Machine) CountTime(on bool) {
	m.stats.Store(on)
	for _, c := range m.cpus {
		c.armed.Store(nil)
	}
}

// The rest makes a Machine a [helpers.Host].

// Map returns the map whose header lies at ptr.
func (m *Machine) Map(ptr uint64) maps.Map { return m.Maps.ByPtr(ptr) }

// Monotonic reads the clock behind ktime_get_ns.
func (m *Machine) Monotonic() uint64 { return m.clock.Monotonic() }

// Boot reads the clock behind ktime_get_boot_ns.
func (m *Machine) Boot() uint64 { return m.clock.Boot() }

// Real reads the wall clock, in nanoseconds since 1970.
func (m *Machine) Real() uint64 { return m.clock.Real() }

// TAI reads the clock behind ktime_get_tai_ns.
func (m *Machine) TAI() uint64 { return m.clock.TAI() }

// The jiffies counter: HZ as distributions configure it, and a start five
// minutes before it would wrap in 32 bits (INITIAL_JIFFIES).
const (
	hz             = 250
	initialJiffies = 1<<32 - 300*hz
)

// Jiffies reads the tick counter behind jiffies64.
func (m *Machine) Jiffies() uint64 { return initialJiffies + m.clock.Monotonic()/(1e9/hz) }

// Random returns the next pseudo-random number of a vCPU.
func (m *Machine) Random(cpu int) uint32 { return jitcode.Random(m.cpus[cpu].random) }

// CPUs is the number of possible CPUs.
func (m *Machine) CPUs() int { return m.opts.CPUs }

// Trace takes one line that a program traced.
func (m *Machine) Trace(cpu int, prog *helpers.Prog, line []byte) {
	if m.opts.Trace != nil {
		m.opts.Trace(TraceLine{CPU: cpu, Prog: prog, Time: m.clock.Monotonic(), Text: line})
	}
}

// Socket returns the socket whose Sock lies at addr, or nil.
func (m *Machine) Socket(addr uint64) *socket.Socket { return m.Sockets.At(addr) }

// KernelSock returns what SetKernelSock has said of the tcp_sock at addr, or nil.
func (m *Machine) KernelSock(addr uint64) helpers.KernelSock {
	m.kernelSocks.RLock()
	defer m.kernelSocks.RUnlock()
	return m.kernelSocks.at[addr]
}

// Net is the network around packets.
func (m *Machine) Net() packet.Net { return m.opts.Net }

// HasDevice reports whether the network has a device with the index.
func (m *Machine) HasDevice(ifindex uint32) bool {
	return m.config.Device != nil && m.config.Device(ifindex)
}

// Timers keeps the machine's bpf_timer objects.
func (m *Machine) Timers() helpers.Timers { return m.timers }

// Process is the process programs are told to run in.
func (m *Machine) Process() *helpers.Process { return m.opts.Process }
