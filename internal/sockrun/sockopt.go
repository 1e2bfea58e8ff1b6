package sockrun

import (
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/mem"
	"github.com/skep-bpf/skep/internal/run"
	"github.com/skep-bpf/skep/internal/socket"
)

// Sockopt is a call of setsockopt(2) or getsockopt(2).
type Sockopt struct {
	Level, Name int32
	// Value is what is to be set, or what the socket has answered; as programs leave it afterwards.
	Value []byte
	// Handled says that programs have done what there was to do: the socket is not to set anything.
	Handled bool
}

// Offsets in struct bpf_sockopt.
const (
	optSk, optVal, optEnd, optLevel     = 0, 8, 16, 24
	optName, optLen, optRetval          = 28, 32, 36
	maxOption                       int = 4096 // PAGE_SIZE: programs do not see more of a value
	minOption                       int = 16   // the room that programs have for another value to set
)

// context makes the context of a call; programs see room bytes, the first of which are the value's.
func (o *Sockopt) context(c *run.CPU, s *socket.Socket, room, length int) (uint64, error) {
	ctx, err := c.Context()
	if err != nil {
		return 0, err
	}
	pkt := c.Packet()
	if err := pkt.SetStream(make([]byte, room), s); err != nil {
		return 0, err
	}
	copy(pkt.Bytes(), o.Value)
	mem.Store64(ctx+optSk, s.Addr())
	mem.Store64(ctx+optVal, pkt.Data)
	mem.Store64(ctx+optEnd, pkt.DataEnd)
	mem.Store32(ctx+optLevel, uint32(o.Level))
	mem.Store32(ctx+optName, uint32(o.Name))
	mem.Store32(ctx+optLen, uint32(length))
	return ctx, nil
}

// Set runs programs before an option is set (__cgroup_bpf_run_filter_setsockopt).
func (o *Sockopt) Set(c *run.CPU, progs []CgroupProg, s *socket.Socket) (CgroupRun, error) {
	room := min(max(minOption, len(o.Value)), maxOption)
	ctx, err := o.context(c, s, room, len(o.Value))
	if err != nil {
		return CgroupRun{}, err
	}
	pkt := c.Packet()
	r, err := cgroup(c, progs, ctx, pkt, 0, nil)
	if err != nil || r.Retval != 0 {
		return r, err
	}
	switch n := int(int32(mem.Load32(ctx + optLen))); {
	case n == -1:
		o.Handled = true
	case n > room && len(o.Value) > maxOption: // of which programs could not see all
	case n > room, n < -1:
		r.Retval = -int32(errno.EFAULT)
	default:
		o.Level, o.Name = int32(mem.Load32(ctx+optLevel)), int32(mem.Load32(ctx+optName))
		if n != 0 { // else the value is the caller's
			o.Value = append([]byte(nil), pkt.Bytes()[:n]...)
		}
	}
	return r, nil
}

// Get runs programs after an option was read (__cgroup_bpf_run_filter_getsockopt): the caller
// has room for so many bytes, and would be returned retval.
func (o *Sockopt) Get(c *run.CPU, progs []CgroupProg, s *socket.Socket, room int, retval int32) (CgroupRun, error) {
	if room < 0 {
		return CgroupRun{Retval: -int32(errno.EINVAL)}, nil
	}
	length := room
	if retval == 0 {
		length = len(o.Value)
	}
	seen := min(room, maxOption)
	ctx, err := o.context(c, s, seen, length)
	if err != nil {
		return CgroupRun{}, err
	}
	c.ShowRetval(ctx + optRetval)
	defer c.ShowRetval(0)
	pkt := c.Packet()
	r, err := cgroup(c, progs, ctx, pkt, retval, nil)
	if err != nil || r.Retval < 0 {
		return r, err
	}
	switch n := int(int32(mem.Load32(ctx + optLen))); {
	case n > seen && length > maxOption: // of which programs could not see all
		r.Retval = retval
	case n > seen, n < 0:
		r.Retval = -int32(errno.EFAULT)
	case n != 0:
		o.Value = append([]byte(nil), pkt.Bytes()[:n]...)
	}
	return r, nil
}
