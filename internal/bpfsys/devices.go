package bpfsys

import (
	"time"

	"github.com/skep-bpf/skep/internal/afxdp"
	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/maps"
	"github.com/skep-bpf/skep/internal/run"
	"github.com/skep-bpf/skep/internal/testrun"
)

// Devices run what is attached to a machine's network devices.
type Devices interface {
	// Attach has progs run at a device's hook, in their order, in the place of what
	// links and PROG_ATTACH had there before; flags are those of an XDP link (XDP_FLAGS_*).
	// Who keeps programs takes references of its own. An error leaves all as it was.
	Attach(ifindex uint32, at catalog.AttachType, flags uint32, progs []*run.Program) errno.Errno
	// Netkit says whether a device is the primary one of a netkit pair: ENXIO if it is
	// of no such pair, EACCES if it is the peer.
	Netkit(ifindex uint32) errno.Errno
	// RunLive runs an XDP program on frames that a device receives, and does with them what it says. It returns the
	// mean time of a run.
	RunLive(p *run.Program, r *LiveRun) (time.Duration, errno.Errno)
	// Netdev is a device as AF_XDP sockets are bound to it; nil: there is none.
	Netdev(ifindex uint32) afxdp.Netdev
}

// LiveRun is a test run whose frames are live; Repeat 0 is one frame.
type LiveRun struct {
	testrun.Live
	Repeat, Batch uint32
}

// carryOut has the devices run what a place's chain holds now. The caller holds h.mu.
func (s *System) carryOut(at place, ch *chain) errno.Errno {
	if s.o.Devices == nil || at.kind != LinkXDP && at.kind != LinkTCX && at.kind != LinkNetkit {
		return 0
	}
	var progs []*run.Program
	var flags uint32
	for _, e := range ch.entries {
		if p := e.program(); p != nil {
			defer p.Close()
			progs = append(progs, p)
		}
		flags |= e.flags
	}
	return s.o.Devices.Attach(uint32(at.target), at.attach, flags, progs)
}

// DeviceGone ends what is attached to a device that is taken away: links stay,
// attached to nothing.
func (s *System) DeviceGone(ifindex uint32) {
	s.hooks.mu.Lock()
	defer s.hooks.mu.Unlock()
	for at, ch := range s.hooks.at {
		if at.target != uint64(ifindex) || at.kind != LinkXDP && at.kind != LinkTCX && at.kind != LinkNetkit {
			continue
		}
		for _, e := range ch.entries {
			if e.prog != nil {
				e.prog.Close()
				continue
			}
			e.link.mu.Lock()
			e.link.at.target = 0
			e.link.mu.Unlock()
		}
		delete(s.hooks.at, at)
	}
}

// Attached returns the ids of the programs and links that bpf(2) has attached to a device, in their
// order; a link's is 0 where there is none.
func (s *System) Attached(ifindex uint32, at catalog.AttachType) (progs, links []uint32) {
	kind := LinkTCX
	switch at {
	case catalog.AttachXDP:
		kind = LinkXDP
	case catalog.AttachNetkitPrimary, catalog.AttachNetkitPeer:
		kind = LinkNetkit
	}
	s.hooks.mu.Lock()
	defer s.hooks.mu.Unlock()
	ch := s.hooks.at[place{kind, uint64(ifindex), at}]
	if ch == nil {
		return nil, nil
	}
	for _, e := range ch.entries {
		p, link := e.program(), uint32(0)
		if p == nil {
			continue
		}
		if e.link != nil {
			link = e.link.id
		}
		progs, links = append(progs, p.ID()), append(links, link)
		p.Close()
	}
	return progs, links
}

// MapObject is a map as descriptors and names have it, with a handle of its own.
func (s *System) MapObject(mp maps.Map) Map {
	s.m.ShareMap(mp)
	return Map{mp, s.m}
}
