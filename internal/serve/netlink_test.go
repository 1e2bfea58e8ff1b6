//go:build linux && (amd64 || arm64)

package serve

import (
	"net"
	"os"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"golang.org/x/sys/unix"

	"github.com/skep-bpf/skep/internal/bpfsys"
	"github.com/skep-bpf/skep/internal/oracle"
)

// rtnetlinkers are what programs with an XDP program do with sockets, and whether the line about netlink is said.
var rtnetlinkers = map[string]struct {
	said bool
	do   func() error
}{
	"lists":    {false, func() error { _, err := net.Interfaces(); return err }},
	"libbpf":   {true, func() error { return withOption(unix.AF_NETLINK, unix.SOL_NETLINK, unix.NETLINK_EXT_ACK) }},
	"timeout":  {true, func() error { return withOption(unix.AF_NETLINK, unix.SOL_SOCKET, unix.SO_SNDTIMEO) }},
	"datagram": {false, func() error { return withOption(unix.AF_INET, unix.SOL_SOCKET, unix.SO_SNDTIMEO) }},
}

// withOption sets an option of a socket of protocol 0, which is rtnetlink or the family's own.
func withOption(family, level, option int) error {
	typ := unix.SOCK_DGRAM
	if family == unix.AF_NETLINK {
		typ = unix.SOCK_RAW
	}
	fd, err := unix.Socket(family, typ|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if option == unix.SO_SNDTIMEO {
		return unix.SetsockoptTimeval(fd, level, option, &unix.Timeval{Sec: 60})
	}
	return unix.SetsockoptInt(fd, level, option, 1)
}

func init() {
	for name, row := range rtnetlinkers {
		clients["rtnetlink "+name] = func() error {
			p, err := ebpf.NewProgram(&ebpf.ProgramSpec{Type: ebpf.XDP, Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 2), asm.Return()}, License: "GPL"})
			if err != nil {
				return err
			}
			defer p.Close()
			return row.do()
		}
	}
}

// TestNetlinkIsSaid: who is about to attach a program to a device by netlink is told whose device that is; who lists devices is not.
func TestNetlinkIsSaid(t *testing.T) {
	oracle.Need(t, "interception of system calls", Available())
	for name, row := range rtnetlinkers {
		t.Run(name, func(t *testing.T) {
			var errs said
			sys, done, err := NewSystem(MachineOptions{}, &errs)
			if err != nil {
				t.Fatal(err)
			}
			defer done()
			code, err := Exec(&Options{System: sys, Caps: bpfsys.AllCaps, Args: []string{"/proc/self/exe"},
				Env: append(os.Environ(), "SERVE_CLIENT=rtnetlink "+name), Stdout: os.Stdout, Stderr: &errs})
			if err != nil || code != 0 {
				t.Fatal(code, err, errs.String())
			}
			if got := strings.HasPrefix(errs.String(), "skep: not served: netlink, whose devices are the kernel's; use "); got != row.said {
				t.Errorf("%q", errs.String())
			}
		})
	}
}
