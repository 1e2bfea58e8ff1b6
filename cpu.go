package skep

import (
	"fmt"

	"github.com/skep-bpf/skep/internal/helpers"
	"github.com/skep-bpf/skep/internal/maps"
	"github.com/skep-bpf/skep/internal/packet"
	"github.com/skep-bpf/skep/internal/run"
)

// Packet is a packet on its way through hooks: the bytes, and what the kernel
// keeps in an xdp_buff or sk_buff.
type Packet = packet.Packet

// Tunnel is the tunnel metadata beside a packet.
type Tunnel = packet.Tunnel

// XDPOptions and SKBOptions shape a packet before a run.
type (
	XDPOptions = packet.XDPOptions
	SKBOptions = packet.SKBOptions
)

// CPU is one of a machine's virtual CPUs, held by its caller from
// [Machine.AcquireCPU] to Release. It carries one packet, which programs run on
// one after the other: fill it with SetXDP or SetSKB, Run, look at it. Holding a CPU over many packets
// saves taking one for each. It is used by one goroutine at a time.
type CPU struct {
	c      *run.CPU
	mach   *Machine
	target [1]RedirectTarget // what Redirect's Targets mostly are
}

// AcquireCPU takes an idle virtual CPU, waiting for one if need be. A closed
// machine has none: AcquireCPU then panics.
func (m *Machine) AcquireCPU() *CPU {
	if err := m.open(); err != nil {
		panic("skep: AcquireCPU: " + err.Error())
	}
	return &CPU{c: m.m.Acquire(), mach: m}
}

// HoldCPU takes the virtual CPU with the given number, waiting until it is idle.
func (m *Machine) HoldCPU(id int) (*CPU, error) {
	c, err := m.holdCPU(id)
	if err != nil {
		return nil, err
	}
	return &c, nil // inlined, on the stack of a caller who copies it
}

func (m *Machine) holdCPU(id int) (CPU, error) {
	if err := m.open(); err != nil {
		return CPU{}, err
	}
	if id < 0 || id >= m.CPUs() {
		return CPU{}, fmt.Errorf("skep: no CPU %d: the machine has %d", id, m.CPUs())
	}
	return CPU{c: m.m.AcquireCPU(id), mach: m}, nil
}

// Release gives the CPU back, once; c is of no use after it.
func (c *CPU) Release() {
	if c.c != nil {
		c.c.Release()
		c.c = nil
	}
}

// ID is the CPU's number, as bpf_get_smp_processor_id returns it.
func (c *CPU) ID() int { return c.c.ID() }

// Random is the CPU's next random number, as bpf_get_prandom_u32 returns it.
func (c *CPU) Random() uint32 { return c.mach.m.Random(c.c.ID()) }

// Packet returns the CPU's packet.
func (c *CPU) Packet() *Packet { return c.c.Packet() }

// Run runs a program on the CPU's packet and returns what it left in R0. An
// error is a fault of skep itself or of a limit set on the machine; verified programs do not fail.
func (c *CPU) Run(p *Program) (uint32, error) {
	if p.done.Load() {
		return 0, p.wrap(ErrClosed)
	}
	r0, err := c.c.RunPacket(p.p)
	if err != nil {
		return 0, p.wrap(err)
	}
	return uint32(r0), nil
}

// RedirectKind says what a [Redirect] points at.
type RedirectKind = helpers.RedirectKind

// Kinds of redirects.
const (
	RedirectNone    = helpers.RedirectNone
	RedirectIfindex = helpers.RedirectIfindex // bpf_redirect
	RedirectPeer    = helpers.RedirectPeer    // bpf_redirect_peer
	RedirectNeigh   = helpers.RedirectNeigh   // bpf_redirect_neigh
	RedirectMap     = helpers.RedirectMap     // bpf_redirect_map
	RedirectMissed  = helpers.RedirectMissed  // bpf_redirect_map, of an entry that is not there: to nowhere
)

// Redirect is where a program sent the packet, for the hook to carry out.
type Redirect struct {
	Kind    RedirectKind
	Ifindex uint32 // of the kinds that name a device
	Flags   uint64
	// Map and Key name the entry of a devmap, cpumap or xskmap.
	Map     string
	MapID   uint32
	MapType MapType
	Key     uint32
	// Targets are the entries the redirect reaches: one, or with BPF_F_BROADCAST
	// all of the map's but, with BPF_F_EXCLUDE_INGRESS, the packet's own device. Empty for an
	// entry that is not set: such a packet is dropped. They are valid until the next Redirect.
	Targets []RedirectTarget
}

// RedirectTarget is one entry of a redirect map.
type RedirectTarget struct {
	Ifindex uint32 // devmap: the device
	CPU     uint32 // cpumap: the CPU
	Socket  any    // xskmap: the socket
	// Prog is the program run at the target before the packet goes on, or nil. It
	// is the machine's; do not close it.
	Prog *Program
}

// Flags of redirects (uapi): of bpf_redirect, and of bpf_redirect_map.
const (
	RedirectIngress        = 1 << 0 // into the device, not out of it (BPF_F_INGRESS)
	RedirectBroadcast      = 1 << 3 // to every entry of the map (BPF_F_BROADCAST)
	RedirectExcludeIngress = 1 << 4 // but to the packet's own device (BPF_F_EXCLUDE_INGRESS)
)

// Redirect returns where the last run sent the packet; Kind is [RedirectNone] or [RedirectMissed] if nowhere.
func (c *CPU) Redirect() Redirect {
	return c.mach.redirect(c.c.Redirect(), c.c.Packet(), c.target[:0])
}

// redirect resolves what a program decided about pkt. Targets are appended to a slice.
func (m *Machine) redirect(d *helpers.Redirect, pkt *Packet, targets []RedirectTarget) Redirect {
	r := Redirect{Kind: d.Kind, Ifindex: d.Ifindex, Flags: d.Flags, Key: d.Key}
	if d.Kind != RedirectMap || d.Map == nil {
		return r
	}
	def := d.Map.Def()
	r.Map, r.MapID, r.MapType = def.Name, def.ID, def.Type
	rm, ok := d.Map.(maps.RedirectMap)
	if !ok {
		return r
	}
	if d.Flags&RedirectBroadcast == 0 {
		if t, ok := rm.Target(d.Key); ok {
			r.Targets = append(targets, m.target(t))
		}
		return r
	}
	r.Targets = m.broadcast(rm, d.Flags, pkt.RxIfindex, targets)
	return r
}

func (m *Machine) broadcast(rm maps.RedirectMap, flags uint64, own uint32, targets []RedirectTarget) []RedirectTarget {
	rm.Targets(func(_ uint32, t maps.Target) bool {
		if flags&RedirectExcludeIngress == 0 || t.Ifindex != own {
			targets = append(targets, m.target(t))
		}
		return true
	})
	return targets
}

func (m *Machine) target(t maps.Target) RedirectTarget {
	out := RedirectTarget{Ifindex: t.Ifindex, CPU: t.CPU, Socket: t.Socket}
	if p, ok := t.Prog.(*run.Program); ok && p != nil {
		out.Prog = &Program{p: p, mach: m}
	}
	return out
}
