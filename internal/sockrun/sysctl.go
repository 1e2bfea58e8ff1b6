package sockrun

import (
	"math"

	"github.com/skep-bpf/skep/internal/helpers"
	"github.com/skep-bpf/skep/internal/mem"
	"github.com/skep-bpf/skep/internal/run"
)

// Sysctl is a sysctl being read or written, as read(2) and write(2) on its file have it.
type Sysctl struct {
	Name    string // below /proc/sys: "net/ipv4/ip_forward"
	Current []byte // what reading it from its start gives; nil: it cannot be read
	Write   bool   // else it is read
	New     []byte // what is to be written; as programs leave it afterwards
	Pos     int64  // where in the file; as programs leave it afterwards
}

// Offsets in struct bpf_sysctl.
const sysctlWrite, sysctlPos = 0, 4

// Run runs programs of type cgroup_sysctl (__cgroup_bpf_run_filter_sysctl).
func (s *Sysctl) Run(c *run.CPU, progs []CgroupProg) (CgroupRun, error) {
	ctx, err := c.Context()
	if err != nil {
		return CgroupRun{}, err
	}
	h := helpers.Sysctl{Name: s.Name, Current: s.Current[:min(len(s.Current), helpers.MaxSysctl)]}
	if s.Write {
		mem.Store32(ctx+sysctlWrite, 1)
		h.New = s.New[:min(len(s.New), helpers.MaxSysctl)]
	}
	mem.Store32(ctx+sysctlPos, uint32(s.Pos)) // programs reach the lower half
	c.Access(&h)
	defer c.Access(nil)
	r, err := cgroup(c, progs, ctx, nil, 0, nil)
	s.Pos = s.Pos&^math.MaxUint32 | int64(mem.Load32(ctx+sysctlPos))
	if h.Set && r.Retval == 0 {
		s.New = h.New
	}
	return r, err
}
