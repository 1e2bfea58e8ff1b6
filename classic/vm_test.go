package classic

import (
	"encoding/binary"
	"math/rand/v2"
	"testing"
	"time"

	"golang.org/x/net/bpf"
)

// assemble is for tests' own programs.
func assemble(t testing.TB, text string) []Instruction {
	t.Helper()
	prog, err := Assemble(t.Name(), text, nil)
	if err != nil {
		t.Fatal(err)
	}
	return prog
}

func newVM(t testing.TB, m Machine, text string) *VM {
	t.Helper()
	vm, err := NewVM(assemble(t, text), m)
	if err != nil {
		t.Fatal(err)
	}
	return vm
}

// tcp80 is what tcpdump makes of "tcp port 80", for Ethernet.
const tcp80 = `
(000) ldh      [12]
(001) jeq      #0x86dd          jt 2	jf 8
(002) ldb      [20]
(003) jeq      #0x6             jt 4	jf 19
(004) ldh      [54]
(005) jeq      #0x50            jt 18	jf 6
(006) ldh      [56]
(007) jeq      #0x50            jt 18	jf 19
(008) jeq      #0x800           jt 9	jf 19
(009) ldb      [23]
(010) jeq      #0x6             jt 11	jf 19
(011) ldh      [20]
(012) jset     #0x1fff          jt 19	jf 13
(013) ldxb     4*([14]&0xf)
(014) ldh      [x + 14]
(015) jeq      #0x50            jt 18	jf 16
(016) ldh      [x + 16]
(017) jeq      #0x50            jt 18	jf 19
(018) ret      #262144
(019) ret      #0`

// tcpPacket is an Ethernet frame of IPv4 and TCP from port 1234 to port.
func tcpPacket(port uint16) []byte {
	p := make([]byte, 74)
	binary.BigEndian.PutUint16(p[12:], 0x800)
	p[14], p[23] = 0x45, 6
	binary.BigEndian.PutUint16(p[34:], 1234)
	binary.BigEndian.PutUint16(p[36:], port)
	p[46] = 0x50
	return p
}

func TestRun(t *testing.T) {
	vm := newVM(t, Socket, tcp80)
	for port, want := range map[uint16]uint32{80: 262144, 81: 0} {
		if got := vm.Run(tcpPacket(port), nil); got != want {
			t.Errorf("port %d: %d, want %d", port, got, want)
		}
	}
	if got := vm.Run(tcpPacket(80)[:36], nil); got != 0 {
		t.Errorf("a packet cut before its port: %d", got)
	}
}

func TestRunAllocatesNothing(t *testing.T) {
	vm := newVM(t, Socket, "ld nla\nld proto\nadd x\nst M[1]\nld poff\nret a")
	packet, aux := tcpPacket(80), &Aux{Protocol: 0x800, Network: 14}
	if n := testing.AllocsPerRun(100, func() { vm.Run(packet, aux) }); n != 0 {
		t.Errorf("%v allocations a run", n)
	}
}

func TestAncillary(t *testing.T) {
	aux := &Aux{
		Length: 1500, Protocol: 0x800, PacketType: 4, IfIndex: 7, HardwareType: 1, Mark: 0xdeadbeef, Queue: 3,
		RXHash: 0x12345678, CPU: 5, VLANTag: 0x2064, VLANTPID: 0x8100, Random: func() uint32 { return 4 }, Network: 14,
	}
	for name, want := range map[string]uint32{
		"proto": 0x800, "type": 4, "ifidx": 7, "hatype": 1, "mark": 0xdeadbeef, "queue": 3, "rxhash": 0x12345678,
		"cpu": 5, "vlan_tci": 0x2064, "vlan_avail": 1, "vlan_tpid": 0x8100, "rand": 4, "poff": 54, "len": 1500,
		"xor_x": 99 ^ 66, "nla": 0, "nlan": 0, "[-1048576]": 0x45000000, "[-2097140]": 0x08004500,
	} {
		vm := newVM(t, Socket, "ldx #66\nld #99\nld "+name+"\nret a")
		if got := vm.Run(tcpPacket(80), aux); got != want {
			t.Errorf("%s: %#x, want %#x", name, got, want)
		}
	}
	// Without a device the program ends at once, with what A then is.
	for _, name := range []string{"ifidx", "hatype"} {
		if got := newVM(t, Socket, "ld #99\nld "+name+"\nld #1\nret a").Run(nil, nil); got != 99 {
			t.Errorf("%s of no device: %d", name, got)
		}
	}
	head := &Aux{Head: []byte{1, 2, 3, 4}, Link: -4, Network: -2}
	for load, want := range map[string]uint32{"ldb [-2097152]": 1, "ldh [-1048575]": 0x0405, "ld [-2097152]": 0x01020304, "ldb [-1048577]": 0, "ldb [-1048579]": 0} {
		if got := newVM(t, Socket, load+"\nret a").Run([]byte{5, 6}, head); got != want {
			t.Errorf("%s: %#x, want %#x", load, got, want)
		}
	}
}

func TestBackwardJumpsEnd(t *testing.T) {
	vm := newVM(t, Libpcap, "again: ld #0\nja again\nret a")
	if got := vm.Run(nil, nil); got != 0 {
		t.Errorf("an endless loop returned %d", got)
	}
	// protochain's way: go on while there is a next header.
	vm = newVM(t, Libpcap, "again: ldb [x]\njeq #0, done\nadd x\ntax\nja again\ndone: txa\nret a")
	if got := vm.Run([]byte{2, 9, 3, 9, 9, 0}, nil); got != 5 {
		t.Errorf("end found at %d, want 5", got)
	}
}

// FuzzRun runs whatever passes Check: no packet leads a run outside its bytes
// or keeps it from ending.
func FuzzRun(f *testing.F) {
	f.Add(Encode(everyRow()[:30], binary.LittleEndian), []byte("packet"), uint8(0))
	f.Add(Encode(assemble(f, tcp80), binary.LittleEndian), tcpPacket(80), uint8(2))
	f.Add(Encode(assemble(f, "ld nla\nld nlan\nld poff\nldb [x + -7]\nret a"), binary.LittleEndian), tcpPacket(80), uint8(0))
	f.Fuzz(func(t *testing.T, code, packet []byte, machine uint8) {
		m := Machine(1) << (machine % 3)
		prog, err := Decode(code[:len(code)&^7], binary.LittleEndian)
		if err != nil {
			t.Fatal(err)
		}
		vm, err := NewVM(prog, m)
		if err != nil {
			return
		}
		if m == Seccomp {
			packet = append(packet, make([]byte, SeccompDataSize)...)
		}
		for _, aux := range []*Aux{nil, {IfIndex: 1, Protocol: 0x86dd, Network: -3, Link: 2, Head: packet}} {
			got := vm.Run(packet, aux)
			if again := interpret(prog, m, packet, aux); again != got {
				t.Fatalf("%s\nreturns %#x, by the book %#x", AppendProgram(nil, prog, Assembly), got, again)
			}
		}
	})
}

// interpret runs a program step by step.
func interpret(prog []Instruction, m Machine, packet []byte, aux *Aux) uint32 {
	var s State
	for n := 0; !s.Done; n++ {
		if n == 100_000 {
			return 0 // a loop of libpcap's
		}
		s.Step(prog, m, packet, aux)
	}
	return s.Result
}

func TestRandomProgramsByTheBook(t *testing.T) {
	g := &generator{Rand: rand.New(rand.NewPCG(5, 3)), machine: Socket, size: 64}
	for n := range 20_000 {
		prog := g.program(1 + g.IntN(30))
		vm, err := NewVM(prog, Socket)
		if err != nil {
			t.Fatalf("%v\n%s", err, AppendProgram(nil, prog, Assembly))
		}
		packet := make([]byte, g.IntN(80))
		for i := range packet {
			packet[i] = byte(g.Uint32())
		}
		aux := &Aux{IfIndex: g.Uint32N(2), Mark: g.Uint32(), Protocol: 0x800, Network: 14}
		got, want := vm.Run(packet, aux), interpret(prog, Socket, packet, aux)
		if got != want {
			t.Fatalf("program %d returns %#x, by the book %#x\n%s", n, got, want, AppendProgram(nil, prog, Assembly))
		}
	}
}

// BenchmarkRun compares with x/net/bpf's machine on a filter of tcpdump's. The
// ratio is the time that one takes over ours.
func BenchmarkRun(b *testing.B) {
	prog := assemble(b, tcp80)
	ours, err := NewVM(prog, Socket)
	if err != nil {
		b.Fatal(err)
	}
	decoded, ok := bpf.Disassemble(RawProgram(prog))
	if !ok {
		b.Fatal("x/net/bpf does not know the program")
	}
	theirs, err := bpf.NewVM(decoded)
	if err != nil {
		b.Fatal(err)
	}
	packet := tcpPacket(80)
	const runs = 200_000
	var sink uint32
	start := time.Now()
	for range runs {
		n, _ := theirs.Run(packet)
		sink += uint32(n)
	}
	peer := time.Since(start) / runs
	n := 0
	for b.Loop() {
		sink += ours.Run(packet, nil)
		n++
	}
	if sink == 0 {
		b.Fatal("nothing matched")
	}
	b.ReportMetric(float64(peer)*float64(n)/float64(b.Elapsed()), "x/net-ratio")
}
