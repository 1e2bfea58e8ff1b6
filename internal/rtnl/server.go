package rtnl

import (
	"cmp"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/skep-bpf/skep"
	"github.com/skep-bpf/skep/device"
	"github.com/skep-bpf/skep/hook"
	"github.com/skep-bpf/skep/internal/afxdp"
	"github.com/skep-bpf/skep/internal/bpfsys"
	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/run"
	"github.com/skep-bpf/skep/internal/serve"
	"github.com/skep-bpf/skep/internal/unwrap"
)

// Server has the devices of one machine.
type Server struct {
	Net *skep.StaticNet
	// Say is called with a line for who keeps the machine; nil: nobody is told.
	Say   func(line string)
	trace *serve.TracePipe
	sys   *bpfsys.System
	mach  *skep.Machine
	net   *device.Network

	mu      sync.Mutex // of changes
	links   map[uint32]*link
	actions uint32 // the last action's index

	releases sync.WaitGroup // programs that runs may still be in
}

// link is what the server knows of a device.
type link struct {
	dev     *device.Device
	add     LinkAdd
	primary bool // of a pair
	wasUp   bool // once: it has its qdisc since
	capture *device.Captures
	ended   bool

	xdp  attached // by ip link set; held
	mode string   // of XDP, by whoever attached it
	// what bpf(2) has attached, by hook
	bpf   map[catalog.AttachType][]attached
	qdisc string // "", clsact, ingress
	held  map[filterKey]heldFilter
}

// attached is a program with a reference, and its handle for package device.
type attached struct {
	prog   *run.Program
	handle *skep.Program
}

// New makes a server that is to be given to the system as its devices; Begin starts it.
func New(trace *serve.TracePipe) *Server {
	return &Server{Net: skep.NewStaticNet(), trace: trace, links: map[uint32]*link{}}
}

// loopIndex is the loopback device's.
const loopIndex = 1

// Begin starts to move packets. checked says that the machine runs in checked mode.
func (s *Server) Begin(sys *bpfsys.System, checked bool) error {
	s.sys = sys
	s.mach = unwrap.Machine(sys.Machine(), checked).(*skep.Machine)
	s.net = device.New(s.mach, &device.Options{
		Net: s.Net,
		Ended: func(d *device.Device) {
			s.mu.Lock()
			defer s.mu.Unlock()
			if l := s.links[d.Index()]; l != nil {
				l.ended = true
			}
		},
		Dropped: func(d, down *device.Device) {
			s.tell(fmt.Sprintf("%s drops what is sent: %s is down: skep ip link set dev %s up", d.Name(), down.Name(), down.Name()))
		},
		Failed: func(err error) { s.tell(err.Error()) },
		Exception: func(d *device.Device, prog *skep.Program, a hook.XDPAction) {
			s.trace.Add(serve.TraceLine{Time: sys.Machine().Monotonic(), Event: "xdp_exception",
				Text: fmt.Sprintf("prog_id=%d action=%s ifindex=%d", prog.ID(), traceAction(a), d.Index())})
		},
	})
	lo, err := s.net.AddDevice(device.Attributes{Name: "lo", Index: loopIndex, MTU: 65536, Down: true}, device.NewLoop())
	if err != nil {
		return err
	}
	s.links[loopIndex] = newLink(lo, LinkAdd{Name: "lo", Kind: KindLoopback})
	return s.net.Start()
}

// tell says something that no command asked for.
func (s *Server) tell(line string) {
	s.trace.Add(serve.TraceLine{Time: s.sys.Machine().Monotonic(), Event: "skep", Text: line})
	if s.Say != nil {
		s.Say(line)
	}
}

// traceAction is an action as the trace event prints it.
func traceAction(a hook.XDPAction) string {
	if a > hook.XDPRedirect {
		return "UNKNOWN"
	}
	return a.String()[len("XDP_"):]
}

// End stops all devices; captures that were written appear under their names.
func (s *Server) End() error {
	var err error
	s.mu.Lock()
	for _, l := range s.links {
		err = errors.Join(err, commit(l)) // closing a capture drops what is not
	}
	s.mu.Unlock()
	err = errors.Join(err, s.net.Stop())
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range s.links {
		err = errors.Join(err, s.drop(l))
	}
	clear(s.links)
	s.releases.Wait()
	return err
}

// Verbs are what the server answers.
func (s *Server) Verbs() serve.Verbs {
	return serve.Verbs{
		VerbLinkAdd: verb(s.linkAdd), VerbLinkDel: verb(s.linkDel), VerbLinkSet: verb(s.linkSet), VerbLinkList: verb(s.linkList),
		VerbQdiscAdd: verb(s.qdiscAdd), VerbQdiscDel: verb(s.qdiscDel), VerbQdiscs: verb(s.qdiscList),
		VerbFilter: verb(s.filterChange), VerbFilters: verb(s.filterList), VerbGraft: verb(s.graft),
		VerbCapture: s.capture,
	}
}

// request is one under way.
type request struct {
	*serve.Request
	send func(any) error
}

// verb gives a function its arguments.
func verb[T any](f func(*request, *T) error) serve.Verb {
	return func(_ context.Context, r *serve.Request, send func(any) error) error {
		var args T
		if err := r.Decode(&args); err != nil {
			return err
		}
		return f(&request{r, send}, &args)
	}
}

func newLink(d *device.Device, add LinkAdd) *link {
	return &link{dev: d, add: add, bpf: map[catalog.AttachType][]attached{}, held: map[filterKey]heldFilter{}}
}

// named returns a device by its name, or nil. The caller holds s.mu.
func (s *Server) named(name string) *link {
	for _, l := range s.links {
		if l.dev.Name() == name {
			return l
		}
	}
	return nil
}

// sorted returns all devices by index. The caller holds s.mu.
func (s *Server) sorted() []*link {
	var all []*link
	for _, l := range s.links {
		all = append(all, l)
	}
	slices.SortFunc(all, func(a, b *link) int { return cmp.Compare(a.dev.Index(), b.dev.Index()) })
	return all
}

// hold takes a program's reference over.
func (s *Server) hold(p *run.Program) attached {
	return attached{p, unwrap.Program(s.mach, p).(*skep.Program)}
}

// release gives programs back once no packet can be in them: when every CPU was
// free for a moment since they were taken off the hooks.
func (s *Server) release(progs ...attached) {
	progs = slices.DeleteFunc(progs, func(a attached) bool { return a.prog == nil })
	if len(progs) == 0 {
		return
	}
	s.releases.Go(func() {
		for id := range s.mach.CPUs() {
			if c, err := s.mach.HoldCPU(id); err == nil {
				c.Release()
			}
		}
		for _, a := range progs {
			a.prog.Close()
		}
	})
}

// Netkit says whether a device is the primary one of a netkit pair (bpfsys.Devices).
func (s *Server) Netkit(ifindex uint32) errno.Errno {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch l := s.links[ifindex]; {
	case l == nil:
		return errno.ENODEV
	case l.add.Kind != KindNetkit:
		return errno.ENXIO
	case !l.primary:
		return errno.EACCES
	}
	return 0
}

// Flags of XDP links (uapi XDP_FLAGS_*).
const xdpGeneric = 1 << 1

// Attach has a device run what bpf(2) has attached there (bpfsys.Devices).
func (s *Server) Attach(ifindex uint32, at catalog.AttachType, flags uint32, progs []*run.Program) errno.Errno {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.links[ifindex]
	if l == nil {
		return 0 // gone
	}
	now := make([]attached, len(progs))
	handles := make([]*skep.Program, len(progs))
	for i, p := range progs {
		p.Acquire()
		now[i] = s.hold(p)
		handles[i] = now[i].handle
	}
	var err error
	switch at {
	case catalog.AttachXDP:
		if l.xdp.prog != nil {
			s.release(now...)
			return errno.EBUSY
		}
		if len(handles) == 0 {
			l.mode = ""
			err = l.dev.SetXDP(nil, 0)
			break
		}
		mode := device.Native
		if l.mode = "xdp"; flags&xdpGeneric != 0 {
			mode, l.mode = device.Generic, "xdpgeneric"
		}
		err = l.dev.SetXDP(handles[0], mode)
	case catalog.AttachTCXIngress:
		err = l.dev.Ingress().SetTCX(handles)
	case catalog.AttachTCXEgress:
		err = l.dev.Egress().SetTCX(handles)
	case catalog.AttachNetkitPrimary:
		err = l.dev.SetNetkit(handles)
	case catalog.AttachNetkitPeer:
		err = l.dev.Peer().SetNetkit(handles)
	}
	if err != nil {
		s.release(now...)
		return errno.EINVAL
	}
	s.release(l.bpf[at]...)
	l.bpf[at] = now
	return 0
}

// RunLive has a device receive the frames of a live test run (bpfsys.Devices).
func (s *Server) RunLive(p *run.Program, r *bpfsys.LiveRun) (time.Duration, errno.Errno) {
	d := s.net.Device(r.Ifindex)
	if d == nil {
		return 0, errno.ENODEV
	}
	p.Acquire()
	prog := s.hold(p)
	defer s.release(prog)
	took, err := d.RunLive(prog.handle, device.LiveRun{Data: r.Data, Meta: r.Meta, Repeat: r.Repeat, Batch: r.Batch})
	if err != nil {
		if errors.Is(err, device.ErrLiveRun) {
			return 0, errno.EINVAL
		}
		return 0, errno.ENOMEM
	}
	return took, 0
}

// Netdev is a device for AF_XDP sockets (bpfsys.Devices).
func (s *Server) Netdev(ifindex uint32) afxdp.Netdev {
	d := s.net.Device(ifindex)
	if d == nil {
		return nil
	}
	dev, _ := unwrap.Netdev(d)
	return dev
}

// about is a program as listings show it.
func about(p *run.Program, link uint32) Prog {
	return Prog{ID: p.ID(), Name: p.Info.Name, Tag: hex.EncodeToString(p.About.Tag[:]), JITed: p.Native() != nil,
		Link: link, LoadTime: p.About.Time, UID: p.About.UID, BTF: p.About.BTF}
}

// now is the machine's time.
func (s *Server) now() time.Duration { return time.Duration(s.sys.Machine().Monotonic()) }
