package afpacket

import (
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/skep-bpf/skep"
	"github.com/skep-bpf/skep/classic"
	"github.com/skep-bpf/skep/device"
	"github.com/skep-bpf/skep/hook"
	"github.com/skep-bpf/skep/internal/errno"
)

// FanoutType says how a group deals out packets to its sockets (PACKET_FANOUT_*).
type FanoutType uint8

// Fanout types.
const (
	FanoutHash     FanoutType = iota // by flow, both directions of one together
	FanoutLB                         // in turn
	FanoutCPU                        // by the CPU the packet is on
	FanoutRollover                   // to one socket until its buffer is full, then to the next
	FanoutRandom                     // by chance
	FanoutQueue                      // by the packet's queue (PACKET_FANOUT_QM)
	FanoutCBPF                       // as a program of classic BPF says
	FanoutEBPF                       // as a program of type socket_filter says
)

func (t FanoutType) String() string {
	names := [...]string{"hash", "lb", "cpu", "rollover", "rnd", "qm", "cbpf", "ebpf"}
	if int(t) < len(names) {
		return names[t]
	}
	return fmt.Sprintf("fanout type %d", t)
}

// FanoutFlags change how a group deals out packets (PACKET_FANOUT_FLAG_*). Fragments are not put
// together before: there is no PACKET_FANOUT_FLAG_DEFRAG.
type FanoutFlags uint8

// Fanout flags.
const (
	Rollover       FanoutFlags = 1 << iota // a socket whose buffer is full passes its packets on to the next
	UniqueID                               // the id is one that no group has
	IgnoreOutgoing                         // the group does not see what is sent
)

// maxFanout is how many sockets a group has at most (PACKET_FANOUT_MAX).
const maxFanout = 256

// group is sockets that share packets (struct packet_fanout).
type group struct {
	id    uint16
	typ   FanoutType
	flags FanoutFlags
	net   *device.Network
	dev   *device.Device
	proto uint16
	stop  func()
	turn  atomic.Uint32

	mu      sync.Mutex                // of changes
	members atomic.Pointer[[]*Socket] // replaced under mu
	progMu  sync.RWMutex              // held while the program runs
	prog    *filter
}

// groups are those of all networks.
var groups struct {
	mu  sync.Mutex
	all map[*device.Network][]*group
}

// JoinFanout has the socket share what it sees with the others of a group, which sees a packet once. All of its sockets have
// one device and protocol. The group's id is returned: a free one with UniqueID.
func (s *Socket) JoinFanout(id uint16, typ FanoutType, flags FanoutFlags) (uint16, error) {
	refuse := func(e errno.Errno, why string) (uint16, error) {
		return 0, fmt.Errorf("afpacket: fanout group %d: %s: %w", id, why, e)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed:
		return 0, errClosed
	case typ > FanoutEBPF, typ == FanoutRollover && flags&Rollover != 0, flags > Rollover|UniqueID|IgnoreOutgoing:
		return refuse(errno.EINVAL, fmt.Sprintf("%s does not go with these flags", typ))
	case s.fanout != nil:
		return refuse(errno.EALREADY, "the socket is in one")
	}
	groups.mu.Lock()
	defer groups.mu.Unlock()
	all := groups.all[s.net]
	find := func(id uint16) *group {
		for _, g := range all {
			if g.id == id {
				return g
			}
		}
		return nil
	}
	g := find(id)
	if flags&UniqueID != 0 {
		if id != 0 {
			return refuse(errno.EINVAL, "a new id is asked for, and one said")
		}
		for g = find(id); g != nil; g = find(id) {
			if id++; id == 0 {
				return refuse(errno.ENOMEM, "no id is free")
			}
		}
		flags &^= UniqueID
	}
	if s.stop == nil {
		return refuse(errno.EINVAL, "the socket sees no protocol")
	}
	if g == nil {
		g = &group{id: id, typ: typ, flags: flags, net: s.net, dev: s.dev, proto: s.proto}
		if groups.all == nil {
			groups.all = map[*device.Network][]*group{}
		}
		groups.all[s.net] = append(all, g)
	}
	switch {
	case g.flags != flags:
		return refuse(errno.EINVAL, "it has other flags")
	case g.typ != typ || g.dev != s.dev || g.proto != s.proto:
		return refuse(errno.EINVAL, "it is of another type, device or protocol")
	case len(g.sockets()) >= maxFanout:
		return refuse(errno.ENOSPC, "it is full")
	}
	s.stop()
	s.stop = nil
	g.change(func(m []*Socket) []*Socket { return append(m, s) })
	if g.stop == nil {
		g.stop = g.net.Watch(g.dev, g.proto, g)
	}
	s.fanout = g
	return id, nil
}

// SetFanoutFilter gives the socket's group, of type FanoutCBPF, its program: what it returns, modulo the number of
// sockets, is who gets the packet in the order of joining. It sees what came in from its network header
// on, and what is sent from its link header on, as in the kernel. nil: the first.
func (s *Socket) SetFanoutFilter(prog []classic.Instruction) error {
	return s.setFanout(FanoutCBPF, func(m *skep.Machine) (*filter, error) { return newFilter(m, prog) })
}

// SetFanoutProgram does so with a program of type socket_filter for one of type FanoutEBPF.
func (s *Socket) SetFanoutProgram(p *skep.Program) error {
	return s.setFanout(FanoutEBPF, func(*skep.Machine) (*filter, error) { return programFilter(p) })
}

func (s *Socket) setFanout(typ FanoutType, make func(*skep.Machine) (*filter, error)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.fanout == nil || s.fanout.typ != typ:
		return fmt.Errorf("afpacket: fanout program: the socket is in no group of type %s: %w", typ, errno.EINVAL)
	case s.locked:
		return fmt.Errorf("afpacket: fanout program: the filter is locked: %w", errno.EPERM)
	}
	f, err := make(s.net.Machine())
	if err != nil {
		return err
	}
	s.fanout.exchange(f)
	return nil
}

func (g *group) exchange(f *filter) {
	g.progMu.Lock()
	old := g.prog
	g.prog = f
	g.progMu.Unlock()
	old.close()
}

func (g *group) sockets() []*Socket {
	if m := g.members.Load(); m != nil {
		return *m
	}
	return nil
}

func (g *group) change(f func([]*Socket) []*Socket) {
	g.mu.Lock()
	defer g.mu.Unlock()
	m := f(slices.Clone(g.sockets()))
	g.members.Store(&m)
}

// leave takes a socket out of the group: the last one takes its place (__fanout_unlink).
func (g *group) leave(s *Socket) {
	groups.mu.Lock()
	defer groups.mu.Unlock()
	g.change(func(m []*Socket) []*Socket {
		last := len(m) - 1
		m[slices.Index(m, s)] = m[last]
		return m[:last]
	})
	if len(g.sockets()) > 0 {
		return
	}
	g.stop()
	left := slices.DeleteFunc(groups.all[g.net], func(o *group) bool { return o == g })
	if groups.all[g.net] = left; len(left) == 0 {
		delete(groups.all, g.net)
	}
	g.exchange(nil)
}

// Watch deals out a packet (packet_rcv_fanout).
func (g *group) Watch(cpu *skep.CPU, p *device.Passing) {
	m := g.sockets()
	if len(m) == 0 {
		return
	}
	if p.Meta.Type == hook.Outgoing {
		if g.flags&IgnoreOutgoing != 0 {
			return
		}
		if s, ok := p.Sender.(*Socket); ok && slices.Contains(m, s) { // match_fanout_group
			return
		}
	}
	at := int(g.pick(cpu, p, uint32(len(m))))
	switch {
	case g.typ == FanoutRollover:
		at = g.roll(m, p, 0, nil)
	case g.flags&Rollover != 0:
		if r := m[at].queue.room(len(p.Frame)); r == none || r == little && m[at].huge(cpu, p) {
			at = g.roll(m, p, at, m[at])
		}
	}
	m[at].take(cpu, p)
}

// pick is whose turn it is.
func (g *group) pick(cpu *skep.CPU, p *device.Passing, n uint32) uint32 {
	switch g.typ {
	case FanoutHash:
		return uint32(uint64(flowHash(cpu, p)) * uint64(n) >> 32) // reciprocal_scale
	case FanoutLB:
		return g.turn.Add(1) % n
	case FanoutCPU:
		return uint32(cpu.ID()) % n
	case FanoutRandom:
		return uint32(uint64(cpu.Random()) * uint64(n) >> 32)
	case FanoutQueue:
		return p.Meta.Queue % n
	case FanoutCBPF, FanoutEBPF:
		g.progMu.RLock()
		defer g.progMu.RUnlock()
		if g.prog != nil {
			return g.prog.choose(cpu, p) % n
		}
	}
	return 0
}

// roll finds a socket with room, from the one on that rolling over from m[at] came to last
// (fanout_demux_rollover). Where none has, it is m[at].
func (g *group) roll(m []*Socket, p *device.Passing, at int, skip *Socket) int {
	from := m[at]
	first := min(int(from.rolled.Load()), len(m)-1)
	for n := range len(m) {
		i := (first + n) % len(m)
		if m[i] != skip && m[i].queue.room(len(p.Frame)) == enough {
			from.rolled.Store(uint32(i))
			return i
		}
	}
	return at
}

// huge reports whether a packet's flow has made more than half of what came lately, as chance remembers it, when there
// was little room (fanout_flow_is_huge).
func (s *Socket) huge(cpu *skep.CPU, p *device.Passing) bool {
	hash, times := flowHash(cpu, p), 0
	for i := range s.recent {
		if s.recent[i].Load() == hash {
			times++
		}
	}
	s.recent[cpu.Random()%uint32(len(s.recent))].Store(hash)
	return times > len(s.recent)/2
}

// flowHash is the same for both directions of a flow; the kernel's has a secret (__skb_get_hash_symmetric).
func flowHash(cpu *skep.CPU, p *device.Passing) uint32 {
	pkt := cpu.Packet()
	if err := pkt.SetSKB(p.Frame, skep.SKBOptions{Live: true, L2: true, VLANProto: p.Meta.VLANProto, VLANTCI: p.Meta.VLANTCI}); err != nil {
		return 0
	}
	return pkt.SymmetricHash()
}

// Down has all readers learn of it.
func (g *group) Down(*device.Device, bool) {
	for _, s := range g.sockets() {
		s.queue.fail(errno.ENETDOWN)
	}
}
