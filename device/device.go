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
//
//	network := device.New(m, nil)
//	dev, err := network.Add("em1", port)
//	err = dev.SetXDP(coll.Programs["firewall"], device.Native)
//	err = network.Run(ctx) // until the ports have no more, or ctx ends
package device

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/skep-bpf/skep"
	"github.com/skep-bpf/skep/hook"
	"github.com/skep-bpf/skep/internal/afxdp"
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

// Attributes are what a device has beside its port.
type Attributes struct {
	Name  string
	Index uint32 // ifindex; 0: the first free one
	MAC   [6]byte
	MTU   uint32 // bytes, without the link header; 0: 1500
	Down  bool   // until SetUp
}

// Device is a network device.
type Device struct {
	net   *Network
	index uint32
	attr  atomic.Pointer[Attributes]
	port  Port
	peer  *Device // the other end of a pair

	up      gate
	queues  sync.WaitGroup // those that receive
	xdp     atomic.Pointer[xdpProg]
	ingress *hook.Clsact
	egress  *hook.Clsact
	netkit  *netkit // nil: it is none
	tunnel  *tunnel // nil: it is none
	pools   *afxdp.Pools
	stats   []counters  // per CPU, and others
	said    atomic.Bool // that it drops: until a device on the way comes up
}

type xdpProg struct {
	prog *skep.Program
	mode XDPMode
}

// Name, Index, MTU and Port say what the device is; Index is its ifindex.
func (d *Device) Name() string  { return d.attr.Load().Name }
func (d *Device) Index() uint32 { return d.index }
func (d *Device) MTU() uint32   { return d.attr.Load().MTU }
func (d *Device) Port() Port    { return d.port }

// MAC is the device's own link address.
func (d *Device) MAC() [6]byte { return d.attr.Load().MAC }

// Up reports whether the device is up, Running whether it is and so is its peer.
func (d *Device) Up() bool { return d.up.open() }

// Running is described with Up.
func (d *Device) Running() bool { return d.Up() && (d.peer == nil || d.peer.Up()) }

// SetUp takes a device up or down. One that is down does not receive, and what is
// sent to it or to its peer is dropped.
func (d *Device) SetUp(up bool) {
	was := d.Up()
	d.up.set(up)
	if up && !was {
		for _, o := range *d.net.devices.Load() {
			if slices.Contains(o.way(), d) {
				o.said.Store(false)
			}
		}
	}
	d.tell()
	if was && !up {
		d.tellDown(false)
	}
}

// way is the devices that have to be up for what is sent: this one, its peer, and those a tunnel lies over.
func (d *Device) way() []*Device {
	all := []*Device{d}
	if d.peer != nil {
		all = append(all, d.peer)
	}
	if d.tunnel != nil {
		all = append(all, d.tunnel.Under.way()...)
	}
	return all
}

// drop drops a packet that was to be sent over a device that is down.
func (w *worker) drop(d *Device) {
	count(&w.counted(d).txDropped, 1)
	d.sayDown()
}

// sayDown tells of the first packet that is dropped which device on its way is down.
func (d *Device) sayDown() {
	if d.said.Load() || d.said.Swap(true) || d.net.opts.Dropped == nil {
		return
	}
	for _, o := range d.way() {
		if !o.Up() {
			d.net.opts.Dropped(d, o)
			return
		}
	}
}

// tell has the machine's network know what the device is.
func (d *Device) tell() {
	if n := d.net.opts.Net; n != nil {
		dev := skep.Device{Ifindex: d.index, Name: d.Name(), MAC: d.MAC(), MTU: d.MTU(),
			HardHeader: ethernetHeader, Up: d.Up(), RxQueues: uint32(d.port.Queues()), NoXDPXmit: !d.sendsFrames()}
		if d.peer != nil {
			dev.Peer = d.peer.index
		}
		n.AddDevice(dev)
	}
}

// gate is open or closed; a closed one is waited at.
type gate struct {
	mu    sync.Mutex
	gone  bool
	shut  chan struct{} // closed when the gate opens; nil: it is open
	state atomic.Bool   // shut
}

func (g *gate) open() bool { return !g.state.Load() }

func (g *gate) set(open bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case open && g.shut != nil:
		close(g.shut)
		g.shut = nil
	case !open && g.shut == nil && !g.gone:
		g.shut = make(chan struct{})
	}
	g.state.Store(g.shut != nil)
}

// pass waits until the gate is open or taken down.
func (g *gate) pass() {
	for {
		g.mu.Lock()
		shut := g.shut
		g.mu.Unlock()
		if shut == nil {
			return
		}
		<-shut
	}
}

// remove opens the gate for good.
func (g *gate) remove() {
	g.mu.Lock()
	g.gone = true
	g.mu.Unlock()
	g.set(true)
}

// Peer is the other end of a pair, nil of anything else.
func (d *Device) Peer() *Device { return d.peer }

// SetXDP puts a program on what the device receives, in the place of the one that
// is there; nil takes it away. Packets meet the one or the other.
func (d *Device) SetXDP(p *skep.Program, mode XDPMode) error {
	var x *xdpProg
	if p != nil {
		if p.Type() != skep.XDP {
			return fmt.Errorf("device %s: program %s is of type %s", d.Name(), p.Name(), p.Type())
		}
		x = &xdpProg{p, mode}
	}
	d.xdp.Store(x)
	if d.peer != nil { // which can send frames, or no longer can
		d.peer.tell()
	}
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
	Exception func(d *Device, prog *skep.Program, action hook.XDPAction)
	// Ended is called when a device has received all its port ever will.
	Ended func(d *Device)
	// Dropped is called with the first packet that is not sent by d since down is: d, its peer, or a device below.
	Dropped func(d, down *Device)
	// Failed is called with what ended a device's queue in a network that goes on.
	Failed func(err error)
}

// Network is the devices of a machine, and what moves packets between them.
type Network struct {
	mach *skep.Machine
	opts Options

	mu      sync.Mutex // of changes
	devices atomic.Pointer[map[uint32]*Device]
	running bool
	active  atomic.Int64   // queues of all devices, and who sends; more under mu alone
	idle    *sync.Cond     // of mu: active is 0
	serving sync.WaitGroup // CPUs of cpumaps
	cpus    []*cpuQueue
	errs    []error

	watchMu sync.Mutex
	watches atomic.Pointer[watches] // nil: nobody watches

	tunnels atomic.Int32 // devices that are

	sent    atomic.Int64 // frames in clones
	cloneMu sync.Mutex
	clones  []clone

	received, queued *skep.Tracepoint // netif_receive_skb, net_dev_queue
}

// New makes a network without devices.
func New(m *skep.Machine, opts *Options) *Network {
	n := &Network{mach: m, received: m.Tracepoint("netif_receive_skb"), queued: m.Tracepoint("net_dev_queue")}
	n.idle = sync.NewCond(&n.mu)
	n.devices.Store(&map[uint32]*Device{})
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

const defaultMTU = 1500

// Add makes a device of a port, which is up.
func (n *Network) Add(name string, p Port) (*Device, error) {
	return n.AddDevice(Attributes{Name: name}, p)
}

// AddDevice makes a device of a port. In a network that runs it receives at once.
func (n *Network) AddDevice(a Attributes, p Port) (*Device, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	d, err := n.make(a, p)
	if err != nil {
		return nil, err
	}
	n.admit(d)
	return d, nil
}

// AddPair makes the two ends of a virtual cable, which are up: what one transmits
// the other receives.
func (n *Network) AddPair(a, b string) (*Device, *Device, error) {
	return n.AddDevices(Attributes{Name: a}, Attributes{Name: b})
}

// AddDevices is AddPair with attributes.
func (n *Network) AddDevices(a, b Attributes) (*Device, *Device, error) {
	return n.addPair(a, b, func(*Device, *Device) {})
}

// addPair makes two ends, which complete finishes before anybody knows them.
func (n *Network) addPair(a, b Attributes, complete func(a, b *Device)) (*Device, *Device, error) {
	pa, pb := NewPair()
	n.mu.Lock()
	defer n.mu.Unlock()
	da, err := n.make(a, pa)
	if err != nil {
		return nil, nil, err
	}
	if b.Name == da.Name() {
		return nil, nil, fmt.Errorf("device %s: there is one of that name", b.Name)
	}
	if b.Index == 0 {
		b.Index = da.index + 1
	}
	db, err := n.make(b, pb)
	if err != nil {
		return nil, nil, err
	}
	da.peer, db.peer = db, da
	complete(da, db)
	n.admit(da)
	n.admit(db)
	return da, db, nil
}

// make makes a device that nobody knows yet. The caller holds n.mu.
func (n *Network) make(a Attributes, p Port) (*Device, error) {
	index := uint32(firstIndex)
	for _, d := range *n.devices.Load() {
		if d.Name() == a.Name {
			return nil, fmt.Errorf("device %s: there is one of that name", a.Name)
		}
		if d.index == a.Index {
			return nil, fmt.Errorf("device %s: there is one of index %d", a.Name, a.Index)
		}
		index = max(index, d.index+1)
	}
	if a.Index == 0 {
		a.Index = index
	}
	if a.MTU == 0 {
		a.MTU = defaultMTU
	}
	d := &Device{net: n, index: a.Index, port: p, pools: afxdp.NewPools(p.Queues()), stats: make([]counters, n.mach.CPUs()+1)}
	d.attr.Store(&a)
	d.up.set(!a.Down)
	// On no CPU of their own: packets pass them on those of the queues.
	d.ingress, _ = hook.NewClsact(n.mach, &hook.TCOptions{Held: &skep.CPU{}})
	d.egress, _ = hook.NewClsact(n.mach, &hook.TCOptions{Held: &skep.CPU{}, Egress: true})
	return d, nil
}

// Change gives a device another name, MTU or link address, as far as they are set in a.
func (n *Network) Change(d *Device, a Attributes) {
	n.mu.Lock()
	defer n.mu.Unlock()
	now := *d.attr.Load()
	if a.Name != "" {
		now.Name = a.Name
	}
	if a.MTU != 0 {
		now.MTU = a.MTU
	}
	if a.MAC != [6]byte{} {
		now.MAC = a.MAC
	}
	d.attr.Store(&now)
	d.tell()
}

// admit puts a device among the others. The caller holds n.mu.
func (n *Network) admit(d *Device) {
	all := maps.Clone(*n.devices.Load())
	all[d.index] = d
	n.devices.Store(&all)
	if d.tunnel != nil {
		n.tunnels.Add(1)
	}
	d.tell()
	if n.running {
		n.start(d)
	}
}

// Remove takes a device away, its peer and the tunnels over them with it, and closes their ports. It
// returns when no packet is on its way in there.
func (n *Network) Remove(d *Device) error {
	gone := []*Device{d}
	if d.peer != nil {
		gone = append(gone, d.peer)
	}
	n.mu.Lock()
	all := maps.Clone(*n.devices.Load())
	for _, o := range all {
		if o.tunnel != nil && slices.Contains(gone, o.tunnel.Under) {
			gone = append(gone, o)
		}
	}
	for _, d := range gone {
		if d.tunnel != nil && all[d.index] == d {
			n.tunnels.Add(-1)
		}
		delete(all, d.index)
	}
	n.devices.Store(&all)
	n.mu.Unlock()
	var errs []error
	for _, d := range gone {
		if n.opts.Net != nil {
			n.opts.Net.RemoveDevice(d.index)
		}
		d.up.remove()
		d.tellDown(true)
		errs = append(errs, d.port.Close())
	}
	for _, d := range gone {
		d.queues.Wait()
	}
	return errors.Join(errs...)
}

// Machine is the one whose programs the network runs.
func (n *Network) Machine() *skep.Machine { return n.mach }

// Network is what the device belongs to.
func (d *Device) Network() *Network { return d.net }

// Device returns the device with an index, or nil.
func (n *Network) Device(index uint32) *Device { return (*n.devices.Load())[index] }

// Named returns the device of a name, or nil.
func (n *Network) Named(name string) *Device {
	for _, d := range *n.devices.Load() {
		if d.Name() == name {
			return d
		}
	}
	return nil
}

// Devices returns all devices by their index.
func (n *Network) Devices() []*Device {
	return slices.SortedFunc(maps.Values(*n.devices.Load()), func(a, b *Device) int { return cmp.Compare(a.index, b.index) })
}
