package bpfsys

import (
	"strconv"
	"strings"

	"github.com/skep-bpf/skep/internal/errno"
)

// Sysctl is the row of a setting that bpf(2) obeys, a file below /proc/sys.
type Sysctl struct {
	Name string // "kernel.unprivileged_bpf_disabled"
	Mode uint32 // of its file, which is root's
	Max  int    // the largest value, 0 being the smallest
	Doc  string

	value int32 // where it is kept
}

// Settings are kept by these numbers.
const (
	unprivilegedDisabled = iota
	statsEnabled
	jitEnable
	jitHarden
	nrSysctls
)

// Sysctls are the rows of all settings.
var Sysctls = []Sysctl{
	{"kernel.unprivileged_bpf_disabled", 0o644, 2, "not 0 refuses callers without CAP_BPF; 1 for good", unprivilegedDisabled},
	{"kernel.bpf_stats_enabled", 0o644, 1, "run times are measured", statsEnabled},
	{"net.core.bpf_jit_enable", 0o644, 2, "whether programs are native code, which is chosen when the machine is made", jitEnable},
	{"net.core.bpf_jit_harden", 0o600, 2, "constants are kept out of native code: 1, of unprivileged programs; 2, of all", jitHarden},
}

// SysctlByName finds a row by "net.core.bpf_jit_enable" or "net/core/bpf_jit_enable", nil if there is none.
func SysctlByName(name string) *Sysctl {
	name = strings.ReplaceAll(name, "/", ".")
	for i := range Sysctls {
		if Sysctls[i].Name == name {
			return &Sysctls[i]
		}
	}
	return nil
}

// Sysctl returns a setting's value.
func (s *System) Sysctl(row *Sysctl) int { return s.sysctl(int(row.value)) }

func (s *System) sysctl(i int) int { return int(s.settings[i].Load()) }

// SetSysctl gives a setting the value that is written in text, for a caller with
// the given capabilities: EPERM and EINVAL are as for a write to its file.
func (s *System) SetSysctl(row *Sysctl, text string, caps Caps) errno.Errno {
	if caps&CapSysAdmin == 0 {
		return errno.EPERM
	}
	v, err := strconv.Atoi(strings.TrimSpace(text))
	if err != nil || v < 0 || v > row.Max {
		return errno.EINVAL
	}
	s.setting.Lock()
	defer s.setting.Unlock()
	old := s.Sysctl(row)
	switch row.value {
	case unprivilegedDisabled:
		if old == 1 && v != 1 {
			return errno.EPERM
		}
	case statsEnabled:
		s.countTime(int32(v - old))
	case jitEnable: // as where the kernel is built with one way of running programs
		if (v != 0) != s.m.Native() {
			return errno.EINVAL
		}
	}
	s.settings[row.value].Store(int32(v))
	return 0
}

// blind hides the constants of a caller's program, see [run.LoadOptions]; nil: it does not (bpf_jit_blinding_enabled).
func (c *call) blind() func() uint32 {
	if h := c.s.sysctl(jitHarden); !c.s.m.Native() || h == 0 || h == 1 && c.who.can(CapBPF) {
		return nil
	}
	return c.s.m.Secret
}
