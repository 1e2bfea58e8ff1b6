package hook

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"

	"github.com/skep-bpf/skep"
)

// maxSkLookup is how many programs a network namespace takes (MAX_BPF_PROGS of netns links).
const maxSkLookup = 64

// SkLookup is the place of a network namespace where programs of type sk_lookup
// choose the socket of what arrives: of the first segment of a TCP connection and of every UDP
// datagram that no connected socket takes, before those who listen are looked for.
// It is safe for concurrent use and takes a virtual CPU for each packet.
type SkLookup struct {
	mach *skep.Machine

	mu    sync.Mutex
	links []*SkLookupLink
	progs []*skep.Program // of links; replaced, not changed
}

// NewSkLookup makes a namespace without programs.
func NewSkLookup(m *skep.Machine) *SkLookup { return &SkLookup{mach: m} }

// SkLookupLink is one program's place among those of an [SkLookup].
type SkLookupLink struct {
	h    *SkLookup
	prog *skep.Program
}

// Attach puts a program behind those that are there.
func (h *SkLookup) Attach(p *skep.Program) (*SkLookupLink, error) {
	l := &SkLookupLink{h: h}
	if err := l.fits(p); err != nil {
		return nil, err
	}
	l.prog = p
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.links) == maxSkLookup {
		return nil, fmt.Errorf("hook sk_lookup: there are %d programs, and no more fit: %w", maxSkLookup, skep.Errno(7))
	}
	h.links = append(h.links, l)
	h.refresh()
	return l, nil
}

func (l *SkLookupLink) fits(p *skep.Program) error {
	if got := p.Type(); got != skep.SkLookup {
		return fmt.Errorf("hook sk_lookup: program %s is of type %s", p.Name(), got)
	}
	return nil
}

// refresh makes the list that packets go by; mu is held.
func (h *SkLookup) refresh() {
	progs := make([]*skep.Program, len(h.links))
	for i, l := range h.links {
		progs[i] = l.prog
	}
	h.progs = progs
}

// Update exchanges the link's program; its place stays.
func (l *SkLookupLink) Update(p *skep.Program) error {
	if err := l.fits(p); err != nil {
		return err
	}
	l.h.mu.Lock()
	defer l.h.mu.Unlock()
	if !slices.Contains(l.h.links, l) {
		return errors.New("hook sk_lookup: the link was closed")
	}
	l.prog = p
	l.h.refresh()
	return nil
}

// Close takes the program away.
func (l *SkLookupLink) Close() error {
	l.h.mu.Lock()
	defer l.h.mu.Unlock()
	l.h.links = slices.DeleteFunc(l.h.links, func(x *SkLookupLink) bool { return x == l })
	l.h.refresh()
	return nil
}

// SkLookupResult is what programs decided about a packet.
type SkLookupResult = skep.SkLookupResult

// Lookup asks the programs who gets a packet of protocol proto ([skep.ProtoTCP] or
// [skep.ProtoUDP]) from remote to local. What a reuseport group makes of the socket
// they choose is not looked at: [SkLookup.Deliver] does.
func (h *SkLookup) Lookup(proto uint16, remote, local netip.AddrPort, meta Meta) (SkLookupResult, error) {
	cpu := h.mach.AcquireCPU()
	defer cpu.Release()
	return cpu.SkLookup(h.programs(), &skep.SocketLookup{Protocol: proto, Remote: remote, Local: local, Ifindex: meta.Ifindex})
}

func (h *SkLookup) programs() []*skep.Program {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.progs
}

// Deliver hands a datagram to the worker ([Reuseport.ListenPacket]) that the programs
// choose, or to another of its group where the group may choose again, and returns its socket: nil where
// the programs choose none, and ErrRefused where they drop it.
func (h *SkLookup) Deliver(remote, local netip.AddrPort, data []byte, meta Meta) (*skep.Socket, error) {
	cpu := h.mach.AcquireCPU()
	defer cpu.Release()
	r, err := cpu.SkLookup(h.programs(), &skep.SocketLookup{Protocol: skep.ProtoUDP, Remote: remote, Local: local, Ifindex: meta.Ifindex})
	switch {
	case err != nil:
		return nil, err
	case !r.Pass:
		return nil, ErrRefused
	case r.Socket == nil:
		return nil, nil
	}
	c, ok := r.Socket.Conn.(*ReuseportConn)
	if !ok {
		return r.Socket, nil
	}
	seg := skep.Segment{Proto: skep.ProtoUDP, Src: remote, Dst: local, Ifindex: meta.Ifindex, Payload: data}
	if r.NoReuseport {
		c.queue(&seg)
		return r.Socket, nil
	}
	if err := cpu.Packet().SetSegment(&seg); err != nil {
		return nil, err
	}
	return c.g.deliver(cpu, &seg, r.Socket)
}

// ErrRefused says that a program refused a packet (ECONNREFUSED for who sent it).
var ErrRefused = errors.New("refused by a program")
