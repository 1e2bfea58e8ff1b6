package rtnl

import (
	"fmt"

	"github.com/skep-bpf/skep/device"
	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
)

// xdpModes are the words for modes. "xdp" leaves the choice to the device, all of which run natively.
var xdpModes = map[string]device.XDPMode{
	"xdp": device.Native, "xdpdrv": device.Native, "xdpgeneric": device.Generic, "xdpoffload": device.Offload,
}

// modeNames are the same as listings have them.
var modeNames = map[device.XDPMode]string{device.Native: "xdp", device.Generic: "xdpgeneric", device.Offload: "xdpoffload"}

// setXDP follows dev_xdp_attach: one program at a time, which a link's is never in the
// way of. The caller holds s.mu.
func (s *Server) setXDP(r *request, l *link, a *XDPChange) error {
	mode, ok := xdpModes[a.Mode]
	if !ok {
		return refuse(errno.EINVAL, fmt.Sprintf("XDP mode %q", a.Mode))
	}
	name := modeNames[mode]
	if len(l.bpf[catalog.AttachXDP]) > 0 {
		if a.Off && l.mode != name {
			return nil
		}
		return refuse(errno.EBUSY, "Can't replace active BPF XDP link")
	}
	if a.Off {
		if l.mode == name { // else there is nothing of that mode
			if err := l.dev.SetXDP(nil, 0); err != nil {
				return err
			}
			s.release(l.xdp)
			l.xdp, l.mode = attached{}, ""
		}
		return nil
	}
	p, err := s.load(r, &a.Object, r.file(0), catalog.ProgXDP)
	if err != nil {
		return err
	}
	prog := s.hold(p.prog)
	switch at := p.prog.Info.Attach; {
	case l.mode != "" && l.mode != name && (l.mode == "xdpgeneric" || name == "xdpgeneric"):
		err = refuse(errno.EEXIST, "Native and generic XDP can't be active at the same time")
	case l.mode != "" && l.mode != name:
		err = refuse(errno.EEXIST, "native and offloaded XDP can't be active at the same time: offload is simulated in the driver")
	case l.mode != "" && !a.Force:
		err = refuse(errno.EBUSY, "XDP program already attached")
	case at == catalog.AttachXDPDevMap:
		err = refuse(errno.EINVAL, "BPF_XDP_DEVMAP programs can not be attached to a device")
	case at == catalog.AttachXDPCPUMap:
		err = refuse(errno.EINVAL, "BPF_XDP_CPUMAP programs can not be attached to a device")
	default:
		err = l.dev.SetXDP(prog.handle, mode)
	}
	if err != nil {
		s.release(prog)
		return err
	}
	s.release(l.xdp)
	l.xdp, l.mode = prog, name
	return r.log(p)
}
