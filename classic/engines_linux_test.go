package classic_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/skep-bpf/skep"
	"github.com/skep-bpf/skep/classic"
	"github.com/skep-bpf/skep/image"
	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/oracle"
)

// engines run one classic program everywhere it can run.
type engines struct {
	t             testing.TB
	machine       *skep.Machine // checked
	send, receive int           // a socket pair; the kernel's filter is on receive
}

func newEngines(t testing.TB) *engines {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	oracle.Need(t, "a socket pair", err)
	m, err := skep.NewMachine(&skep.MachineOptions{CPUs: 1, Checked: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		unix.Close(fds[0])
		unix.Close(fds[1])
		m.Close()
	})
	return &engines{t, m, fds[0], fds[1]}
}

// kernel returns how many bytes of the packet a filter lets through.
func (e *engines) kernel(prog []classic.Instruction, packet []byte) int {
	e.t.Helper()
	if err := attach(e.receive, prog); err != nil {
		e.t.Fatalf("the kernel refuses: %v\n%s", err, listing(prog))
	}
	if _, err := unix.Write(e.send, packet); err != nil {
		e.t.Fatal(err)
	}
	buf := make([]byte, len(packet))
	n, err := unix.Read(e.receive, buf)
	if errors.Is(err, unix.EAGAIN) {
		return 0
	}
	if err != nil {
		e.t.Fatal(err)
	}
	return n
}

func attach(fd int, prog []classic.Instruction) error {
	// Instruction is laid out as struct sock_filter.
	fprog := unix.SockFprog{Len: uint16(len(prog)), Filter: (*unix.SockFilter)(unsafe.Pointer(unsafe.SliceData(prog)))}
	err := unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &fprog)
	runtime.KeepAlive(prog)
	return err
}

// translated returns what the program returns as one of skep's own, in the
// interpreter's checked mode.
func (e *engines) translated(prog []classic.Instruction, m classic.Machine, packet []byte) uint32 {
	e.t.Helper()
	insns, err := classic.Translate(prog, m)
	if err != nil {
		e.t.Fatalf("%v\n%s", err, listing(prog))
	}
	p := &image.Program{Name: "filter", Type: catalog.ProgSocketFilter, Insns: insns}
	// A test run shows socket filters what is behind the Ethernet header.
	opts := &skep.RunOptions{Data: append([]byte{12: 0x88, 13: 0xb5}, packet...)}
	if m == classic.Seccomp {
		const sleepable = 1 << 4 // BPF_F_SLEEPABLE
		p.Type, p.Flags = catalog.ProgSyscall, sleepable
		opts = &skep.RunOptions{Context: packet}
	}
	coll, err := e.machine.LoadCollection(&image.Image{Name: "classic", ByteOrder: binary.NativeEndian, License: "GPL", Programs: []*image.Program{p}})
	if err != nil {
		e.t.Fatalf("%+v\n%s", err, listing(prog))
	}
	defer coll.Close()
	ret, err := coll.Programs["filter"].Run(opts)
	if err != nil {
		e.t.Fatalf("%v\n%s", err, listing(prog))
	}
	return ret
}

func listing(prog []classic.Instruction) []byte {
	return classic.AppendProgram(nil, prog, classic.Listing)
}

// byteOf turns a program that ends with "ret a" into one that returns one more
// than a byte of A: what a filter returns is seen as the length of a packet.
func byteOf(prog []classic.Instruction, n uint32) []classic.Instruction {
	prog = append([]classic.Instruction(nil), prog[:len(prog)-1]...)
	return append(prog,
		classic.Instruction{Code: classic.ALU | classic.RSH | classic.K, K: 8 * n},
		classic.Instruction{Code: classic.ALU | classic.AND | classic.K, K: 0xff},
		classic.Instruction{Code: classic.ALU | classic.ADD | classic.K, K: 1},
		classic.Instruction{Code: classic.RET | classic.A})
}

// What is known of a packet on a socket pair, and of one in a test run.
var (
	onPair    = &classic.Aux{NoLinkHeader: true}
	inTestRun = &classic.Aux{Protocol: 0x88b5, IfIndex: 1, HardwareType: 772, Link: -14, Head: []byte{12: 0x88, 13: 0xb5}}
)

// compare runs a program on a packet of more than 256 bytes on every engine.
func (e *engines) compare(name string, prog []classic.Instruction, packet []byte) {
	e.t.Helper()
	for n := range uint32(4) {
		prog := byteOf(prog, n)
		vm, err := classic.NewVM(prog, classic.Socket)
		if err != nil {
			e.t.Fatalf("%s: %v", name, err)
		}
		ours := vm.Run(packet, onPair)
		if kernel := e.kernel(prog, packet); kernel != int(min(ours, uint32(len(packet)))) {
			e.t.Fatalf("%s, byte %d: skep returns %#x, the kernel lets %d bytes of %d through\n%s", name, n, ours, kernel, len(packet), listing(prog))
		}
		if !translatable(prog) {
			return
		}
		if got, ours := e.translated(prog, classic.Socket, packet), vm.Run(packet, inTestRun); got != ours {
			e.t.Fatalf("%s, byte %d: %#x, translated %#x\n%s", name, n, ours, got, listing(prog))
		}
	}
}

// translatable reports whether the program asks for nothing that eBPF has not.
func translatable(prog []classic.Instruction) bool {
	_, err := classic.Translate(prog, classic.Socket)
	return !errors.Is(err, classic.ErrNoField)
}

// attributes is a packet of netlink attributes in the machine's byte order:
// types 1, 2 and 3 with 5, 0 and 16 bytes of payload, the last of which holds
// types 7 and 8; behind them one that says it is longer than the packet.
func attributes() []byte {
	var b []byte
	attr := func(typ uint16, payload []byte) []byte {
		p := binary.NativeEndian.AppendUint16(nil, uint16(4+len(payload)))
		p = append(binary.NativeEndian.AppendUint16(p, typ), payload...)
		return append(p, make([]byte, -len(p)&3)...)
	}
	b = append(b, attr(1, []byte("hello"))...)
	b = append(b, attr(2|0x8000, nil)...)
	b = append(b, attr(3, append(attr(7, []byte("ab")), attr(8, []byte("cdef"))...))...)
	b = append(b, binary.NativeEndian.AppendUint16(binary.NativeEndian.AppendUint16(nil, 60000), 4)...)
	return append(b, make([]byte, 300)...)
}

// textCases run on an own packet each, all engines against each other.
var textCases = []struct {
	name, text string
	packet     []byte
}{
	{"constants", "ld #0xdeadbeef\nret a", nil},
	{"division by X of 0", "ld #7\ndiv x\nret a", nil},
	{"division", "ld #0xfffffff0\nldx #7\ndiv x\nret a", nil},
	{"modulo by X of 0", "ld #7\nmod x\nret a", nil},
	{"modulo", "ld #0xfffffff0\nldx #7\nmod x\nret a", nil},
	{"shift by 40", "ld #1\nldx #40\nlsh x\nret a", nil},
	{"shift right by 33", "ld #0x80000000\nldx #33\nrsh x\nret a", nil},
	{"negation", "ld #1\nneg\nret a", nil},
	{"length", "ld len\nret a", nil},
	{"length in X", "ldx #len\ntxa\nret a", nil},
	{"header length", "ldxb 4*([1]&0xf)\ntxa\nret a", nil},
	{"header length keeps A", "ld #5\nldxb 4*([1]&0xf)\nadd x\nret a", nil},
	{"header length beyond the end", "ldxb 4*([300]&0xf)\nret #1", nil},
	{"last word", "ld [296]\nret a", nil},
	{"a word half outside", "ld [298]\nld #1\nret a", nil},
	{"indirect", "ldx #9\nldh [x + 3]\nret a", nil},
	{"indirect, wrapped", "ldx #9\nldh [x + -3]\nret a", nil},
	{"indirect, before the packet", "ldx #0\nldh [x + -3]\nld #1\nret a", nil},
	{"scratch", "ld #5\nst M[15]\nldx #6\nstx M[0]\nld M[0]\nldx M[15]\nmul x\nret a", nil},
	{"dead code", "ja on\nld [0]\nld M[3]\non: ld #3\nret a", nil},
	{"jset", "ld #0x80000001\njset #0x80000000, yes, no\nyes: ld #1\nret a\nno: ld #2\nret a", nil},
	{"jgt, high bit", "ld #0x80000001\njgt #0x80000000, yes, no\nyes: ld #1\nret a\nno: ld #2\nret a", nil},
	{"jge, both away", "ld #5\njge #5, l1, l2\nld #9\nl1: ld #1\nret a\nl2: ld #2\nret a", nil},
	{"jeq x", "ld #5\nldx #5\njeq x, l1\nld #9\nret a\nl1: ld #1\nret a", nil},
	{"jset, false away", "ld #5\njset #2, l0, l1\nl0: ld #9\nret a\nl1: ld #1\nret a", nil},
	{"xor_x", "ld #5\nldx #0xff00ff00\nld xor_x\nret a", nil},
	{"proto", "ld #5\nld proto\nadd #3\nret a", nil},
	{"type", "ld #5\nld type\nadd #3\nret a", nil},
	{"mark", "ld #5\nld mark\nadd #3\nret a", nil},
	{"queue", "ld #5\nld queue\nadd #3\nret a", nil},
	{"rxhash", "ld #5\nld rxhash\nadd #3\nret a", nil},
	{"vlan_tci", "ld #5\nld vlan_tci\nadd #3\nret a", nil},
	{"vlan_avail", "ld #5\nld vlan_avail\nadd #3\nret a", nil},
	{"vlan_tpid", "ld #5\nld vlan_tpid\nadd #3\nret a", nil},
	{"poff of nothing", "ld #5\nld poff\nadd #3\nret a", nil},
	{"nla, the first", "ldx #1\nld #0\nld nla\nret a", attributes()},
	{"nla, flagged", "ldx #2\nld #0\nld nla\nret a", attributes()},
	{"nla, the last", "ldx #3\nld #0\nld nla\nret a", attributes()},
	{"nla, too long", "ldx #4\nld #0\nld nla\nadd #1\nret a", attributes()},
	{"nla, only nested", "ldx #7\nld #0\nld nla\nadd #1\nret a", attributes()},
	{"nla, behind", "ldx #1\nld #12\nld nla\nadd #1\nret a", attributes()},
	{"nla, outside", "ldx #1\nld #0xfffffff0\nld nla\nadd #1\nret a", attributes()},
	{"nlan", "ldx #8\nld #16\nld nlan\nret a", attributes()},
	{"nlan, its first", "ldx #7\nld #16\nld nlan\nret a", attributes()},
	{"nlan, not nested", "ldx #1\nld #16\nld nlan\nadd #1\nret a", attributes()},
	{"nlan, too long", "ldx #1\nld #36\nld nlan\nadd #1\nret a", attributes()},
	{"nla keeps X", "ldx #3\nld #0\nld nla\nadd x\nret a", attributes()},
}

func TestEngines(t *testing.T) {
	e := newEngines(t)
	ramp := make([]byte, 300)
	for i := range ramp {
		ramp[i] = byte(7*i + 1)
	}
	for _, c := range textCases {
		prog, err := classic.Assemble(c.name, c.text, nil)
		if err != nil {
			t.Fatal(err)
		}
		packet := c.packet
		if packet == nil {
			packet = ramp
		}
		e.compare(c.name, prog, packet)
	}
	// No device: the program ends and returns A as it was, 200.
	for _, name := range []string{"ifidx", "hatype"} {
		prog, _ := classic.Assemble(name, "ld #200\nld "+name+"\nret #100", nil)
		vm, _ := classic.NewVM(prog, classic.Socket)
		if ours, kernel := vm.Run(ramp, nil), e.kernel(prog, ramp); ours != 200 || kernel != 200 {
			t.Errorf("%s of no device: %d, the kernel says %d", name, ours, kernel)
		}
	}
}

func TestEnginesRandomly(t *testing.T) {
	e := newEngines(t)
	r := rand.New(rand.NewPCG(5, 4))
	programs := 400
	if testing.Short() {
		programs = 40
	}
	for n := range programs {
		packet := make([]byte, 300)
		for i := range packet {
			packet[i] = byte(r.Uint32() >> r.IntN(32))
		}
		if n%4 == 0 {
			packet = bytes.Clone(attributes())
		}
		e.compare(fmt.Sprint("program ", n), classic.RandomProgram(r, classic.Socket, 3+r.IntN(20), len(packet)), packet)
	}
}

// TestTranslatedForOtherMachines compares the VM with translated programs of
// seccomp, over struct seccomp_data as plain memory, and of libpcap, whose
// offsets do not wrap around and whose scratch memory begins as zeroes.
func TestTranslatedForOtherMachines(t *testing.T) {
	e := newEngines(t)
	r := rand.New(rand.NewPCG(5, 10))
	for _, m := range []classic.Machine{classic.Seccomp, classic.Libpcap} {
		for n := range 300 {
			packet := make([]byte, classic.SeccompDataSize)
			for i := range packet {
				packet[i] = byte(r.Uint32() >> r.IntN(32))
			}
			prog := classic.RandomProgram(r, m, 3+r.IntN(20), len(packet))
			vm, err := classic.NewVM(prog, m)
			if err != nil {
				t.Fatal(err)
			}
			if m == classic.Libpcap && !translatable(prog) {
				continue
			}
			if ours, got := vm.Run(packet, nil), e.translated(prog, m, packet); ours != got {
				t.Fatalf("%v, program %d: %#x, translated %#x\n%s", m, n, ours, got, listing(prog))
			}
		}
	}
	for _, c := range []struct {
		text string
		want uint32
	}{
		{"ld M[3]\nadd #7\nret a", 7},
		{"ld #1\nldx #32\nlsh x\nadd #5\nret a", 5},
		{"ld #1\nlsh #33\nadd #5\nret a", 5},
		{"ldx #0xffffffff\nldb [x + 2]\nret #1", 0},
		{"ld [0x80000000]\nret #1", 0},
		{"ldxb 4*([0x80000000]&0xf)\nret #1", 0},
		{"again: ldb [x]\njeq #0, done\nadd x\ntax\nja again\ndone: txa\nret a", 5},
	} {
		prog, err := classic.Assemble("t", c.text, nil)
		if err != nil {
			t.Fatal(err)
		}
		vm, err := classic.NewVM(prog, classic.Libpcap)
		if err != nil {
			t.Fatal(err)
		}
		packet := append([]byte{2, 9, 3, 9, 9, 0}, make([]byte, 60)...)
		if ours, got := vm.Run(packet, nil), e.translated(prog, classic.Libpcap, packet); ours != c.want || got != c.want {
			t.Errorf("%q: %d, translated %d, want %d", c.text, ours, got, c.want)
		}
	}
}

func TestTranslateRefuses(t *testing.T) {
	if _, err := classic.Translate([]classic.Instruction{{Code: classic.LD}}, classic.Socket); !errors.Is(err, classic.ErrUnfinished) {
		t.Errorf("an unchecked program: %v", err)
	}
	for _, name := range []string{"poff", "hatype"} {
		prog, err := classic.Assemble("t", "ld "+name+"\nret a", nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := classic.Translate(prog, classic.Socket); !errors.Is(err, classic.ErrNoField) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// 4000 searches of some thirty instructions between a jump and its target.
	far := []classic.Instruction{{Code: classic.JMP | classic.JEQ | classic.K, Jf: 1}, {Code: classic.JMP | classic.JA}}
	for range 4000 {
		far = append(far, classic.Instruction{Code: classic.LD | classic.B | classic.ABS, K: classic.NLAttr.K()})
	}
	far = append(far, classic.Instruction{Code: classic.RET | classic.A})
	far[1].K = uint32(len(far) - 3)
	if _, err := classic.Translate(far, classic.Socket); !errors.Is(err, classic.ErrTooFar) {
		t.Errorf("a jump over %d instructions: %v", len(far), err)
	}
}
