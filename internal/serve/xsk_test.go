//go:build linux && (amd64 || arm64)

package serve

import (
	"encoding/binary"
	"testing"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// TestOthersCalls: of calls that AF_XDP sockets have too, the filter picks those of AF_XDP sockets alone.
func TestOthersCalls(t *testing.T) {
	var raw []bpf.RawInstruction
	for _, f := range filter() {
		raw = append(raw, bpf.RawInstruction{Op: f.Code, Jt: f.Jt, Jf: f.Jf, K: f.K})
	}
	prog, ok := bpf.Disassemble(raw)
	if !ok {
		t.Fatal("the filter cannot be read")
	}
	vm, err := bpf.NewVM(prog)
	if err != nil {
		t.Fatal(err)
	}
	const other, mine = 5, firstXSK
	for _, c := range []struct {
		name   string
		nr     uint32
		args   []uint32
		picked bool
	}{
		{"socket of UDP", unix.SYS_SOCKET, []uint32{unix.AF_INET, unix.SOCK_DGRAM}, false},
		{"socket of AF_XDP", unix.SYS_SOCKET, []uint32{unix.AF_XDP, unix.SOCK_RAW}, true},
		{"bind", unix.SYS_BIND, []uint32{other, 1, 16}, false},
		{"bind of AF_XDP", unix.SYS_BIND, []uint32{mine, 1, 16}, true},
		{"sendto", unix.SYS_SENDTO, []uint32{other, 0, 0}, false},
		{"sendto with data", unix.SYS_SENDTO, []uint32{mine, 1, 1}, false},
		{"sendto of AF_XDP", unix.SYS_SENDTO, []uint32{mine, 0, 0}, true},
		{"recvfrom", unix.SYS_RECVFROM, []uint32{other, 0, 0}, false},
		{"recvfrom of AF_XDP", unix.SYS_RECVFROM, []uint32{mine, 0, 0}, true},
		{"setsockopt", unix.SYS_SETSOCKOPT, []uint32{mine, unix.SOL_SOCKET, unix.SO_REUSEADDR}, false},
		{"setsockopt of polling", unix.SYS_SETSOCKOPT, []uint32{other, unix.SOL_SOCKET, unix.SO_BUSY_POLL}, false},
		{"setsockopt of AF_XDP", unix.SYS_SETSOCKOPT, []uint32{other, unix.SOL_XDP, unix.XDP_RX_RING}, true},
		{"getsockopt", unix.SYS_GETSOCKOPT, []uint32{mine, unix.SOL_SOCKET, unix.SO_ERROR}, false},
		{"getsockopt of AF_XDP", unix.SYS_GETSOCKOPT, []uint32{other, unix.SOL_XDP, unix.XDP_STATISTICS}, true},
		{"mmap", unix.SYS_MMAP, []uint32{0, 4096, 3, unix.MAP_SHARED | unix.MAP_POPULATE, other}, false},
		{"mmap of AF_XDP", unix.SYS_MMAP, []uint32{0, 4096, 3, unix.MAP_SHARED | unix.MAP_POPULATE, mine}, true},
		{"poll", unix.SYS_PPOLL, []uint32{1, 1}, false},
	} {
		// The filter loads words as the machine has them, the classic machine as a network has them: each word is turned.
		data := make([]byte, 64)
		binary.BigEndian.PutUint32(data, c.nr)
		binary.BigEndian.PutUint32(data[4:], auditArch)
		for i, a := range c.args {
			binary.BigEndian.PutUint32(data[16+8*i:], a)
		}
		got, err := vm.Run(data)
		if want := map[bool]uint32{true: retNotif, false: retAllow}[c.picked]; err != nil || uint32(got) != want {
			t.Errorf("%s: %#x, %v", c.name, got, err)
		}
	}
}
