package hook

import (
	"errors"
	"fmt"

	"github.com/skep-bpf/skep"
)

// SetOption asks to set an option of the socket (cgroup/setsockopt), and leaves in o which is to be set to what,
// or that programs have Handled it.
func (s *CgroupSocket) SetOption(o *skep.CgroupSockopt) error {
	_, err := s.g.run(skep.AttachCGroupSetsockopt, func(cpu *skep.CPU, progs []skep.CgroupProgram) (skep.CgroupRun, error) {
		return cpu.CgroupSetsockopt(progs, s.Socket, o)
	})
	return err
}

// GetOption shows what an option of the socket was read as (cgroup/getsockopt): o.Value, or the error, an
// [skep.Errno], that the socket has answered. room is how many bytes the caller has room for. It leaves in o the value
// that the caller gets, and returns the error that the caller gets.
func (s *CgroupSocket) GetOption(o *skep.CgroupSockopt, room int, answered error) error {
	const at = skep.AttachCGroupGetsockopt
	var e skep.Errno
	if answered != nil && !errors.As(answered, &e) {
		return fmt.Errorf("%s: an option was answered with an error that is no number: %w", at, answered)
	}
	if room >= 0 && len(o.Value) > room {
		return fmt.Errorf("%s: a value of %d bytes with room for %d: %w", at, len(o.Value), room, eINVAL)
	}
	progs := s.g.effective(at)
	if len(progs) == 0 {
		return answered
	}
	cpu := s.g.mach.AcquireCPU()
	defer cpu.Release()
	r, err := cpu.CgroupGetsockopt(progs, s.Socket, o, room, -int32(e))
	switch {
	case err != nil:
		return err
	case r.Retval == -int32(e):
		return answered
	}
	return ended(at, r)
}
