// Package device has network devices in user space: where packets come in and go
// out, and the programs on their way. A [Network] runs them as drivers and the
// stack of Linux do: XDP on what a queue has received, tc on the way in and out,
// redirects in bulk.
//
//	port ─▶ XDP ──────▶ tc ingress ──▶ Options.Stack
//	         │ TX           │ redirect
//	         │ redirect     ▼
//	         ▼          tc egress ──▶ port
//	        port
//
// A [Port] is what is behind a device: a capture, the other end of a pair, a tap,
// an interface of the host, or anything that moves frames.
package device

import (
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/skep-bpf/skep"
	"github.com/skep-bpf/skep/hook"
)

// Port moves the frames of a device, which begin with their Ethernet header.
type Port interface {
	// Queues is how many queues receive, at least 1.
	Queues() int
	// Receive waits until a queue has received something and fills frames, whose
	// elements have room for a frame each, by shortening them. It returns how many
	// came, or io.EOF when nothing will come any more, so after Close.
	Receive(queue int, frames [][]byte) (int, error)
	// Transmit sends frames, whose bytes are the caller's again afterwards, and
	// returns how many were taken. Several goroutines may call it.
	Transmit(frames [][]byte) (int, error)
	// Close ends the port: whoever waits in Receive is woken.
	Close() error
}

// XDPMode says where an XDP program runs.
type XDPMode uint8

// XDP modes.
const (
	Native  XDPMode = iota // in the driver, before there is a socket buffer
	Generic                // in the stack, also on what redirects send in
	Offload                // on the device, which is simulated: as Native
)

func (m XDPMode) String() string {
	return [...]string{"native", "generic", "offload (simulated)"}[m]
}

// Device is a network device.
type Device struct {
	net   *Network
	name  string
	index uint32
	mtu   uint32
	port  Port
	peer  *Device // the other end of a pair

	xdp     atomic.Pointer[xdpProg]
	ingress *hook.Clsact
	egress  *hook.Clsact
	stats   counters
}

type xdpProg struct {
	prog *skep.Program
	mode XDPMode
}

// Name, Index, MTU and Port say what the device is; Index is its ifindex.
func (d *Device) Name() string  { return d.name }
func (d *Device) Index() uint32 { return d.index }
func (d *Device) MTU() uint32   { return d.mtu }
func (d *Device) Port() Port    { return d.port }

// Peer is the other end of a pair, nil of anything else.
func (d *Device) Peer() *Device { return d.peer }

// SetXDP puts a program on what the device receives, in the place of the one that
// is there; nil takes it away. Packets meet the one or the other.
func (d *Device) SetXDP(p *skep.Program, mode XDPMode) error {
	if p == nil {
		d.xdp.Store(nil)
		return nil
	}
	if p.Type() != skep.XDP {
		return fmt.Errorf("device %s: program %s is of type %s", d.name, p.Name(), p.Type())
	}
	d.xdp.Store(&xdpProg{p, mode})
	return nil
}

// XDP returns the program SetXDP has put there, nil for none.
func (d *Device) XDP() (*skep.Program, XDPMode) {
	if x := d.xdp.Load(); x != nil {
		return x.prog, x.mode
	}
	return nil, 0
}

// Ingress and Egress are the two directions of the device's clsact qdisc. Their
// own Run is not for use here.
func (d *Device) Ingress() *hook.Clsact { return d.ingress }

// Egress is described with Ingress.
func (d *Device) Egress() *hook.Clsact { return d.egress }

// Options shape a network.
type Options struct {
	// Net is that of the machine, which learns of devices; nil: it is not told.
	Net *skep.StaticNet
	// Stack gets what passed the way in, from several goroutines; the frame is valid
	// during the call. nil: it ends there.
	Stack func(d *Device, frame []byte)
	// Exception is called where the kernel raises the xdp_exception trace event.
	Exception func(d *Device, action hook.XDPAction)
}

// Network is the devices of a machine, and what moves packets between them.
type Network struct {
	mach *skep.Machine
	opts Options

	mu      sync.Mutex
	devices map[uint32]*Device
	running bool
	cpus    []*cpuQueue

	sent    atomic.Int64 // frames in clones
	cloneMu sync.Mutex
	clones  []clone
}

// New makes a network without devices.
func New(m *skep.Machine, opts *Options) *Network {
	n := &Network{mach: m, devices: map[uint32]*Device{}}
	if opts != nil {
		n.opts = *opts
	}
	if n.opts.Net != nil {
		n.opts.Net.OnTransmit = n.cloned
	}
	return n
}

// firstIndex is the index of the first device; 1 is the loopback device's.
const firstIndex = 2

// Add makes a device of a port, before Run.
func (n *Network) Add(name string, p Port) (*Device, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.running {
		return nil, fmt.Errorf("device %s: the network runs already", name)
	}
	index := uint32(firstIndex)
	for _, d := range n.devices {
		if d.name == name {
			return nil, fmt.Errorf("device %s: there is one of that name", name)
		}
		index = max(index, d.index+1)
	}
	d := &Device{net: n, name: name, index: index, mtu: defaultMTU, port: p}
	// On no CPU of their own: packets pass them on those of the queues.
	d.ingress, _ = hook.NewClsact(n.mach, &hook.TCOptions{Held: &skep.CPU{}})
	d.egress, _ = hook.NewClsact(n.mach, &hook.TCOptions{Held: &skep.CPU{}, Egress: true})
	if n.opts.Net != nil {
		n.opts.Net.AddDevice(skep.Device{Ifindex: index, Name: name, MTU: d.mtu, HardHeader: 14, Up: true, RxQueues: uint32(p.Queues())})
	}
	n.devices[index] = d
	return d, nil
}

const defaultMTU = 1500

// AddPair makes the two ends of a virtual cable: what one transmits the other receives.
func (n *Network) AddPair(a, b string) (*Device, *Device, error) {
	pa, pb := NewPair()
	da, err := n.Add(a, pa)
	if err != nil {
		return nil, nil, err
	}
	db, err := n.Add(b, pb)
	if err != nil {
		n.mu.Lock()
		delete(n.devices, da.index)
		n.mu.Unlock()
		return nil, nil, err
	}
	da.peer, db.peer = db, da
	return da, db, nil
}

// Device returns the device with an index, or nil.
func (n *Network) Device(index uint32) *Device {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.devices[index]
}
