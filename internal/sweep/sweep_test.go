package sweep

import (
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"testing"

	"github.com/skep-bpf/skep/classic"
	"github.com/skep-bpf/skep/internal/oracle"
	"github.com/skep-bpf/skep/lang/pcap"
)

const maxPacket = 1 << 18

// records makes a row of records, and says where each begins.
func records(r *rand.Rand, order binary.AppendByteOrder, n int) (buf []byte, starts []int) {
	for range n {
		p := make([]byte, r.IntN(120))
		for i := range p {
			p[i] = byte(r.Uint32())
		}
		if len(p) > 40 && r.IntN(4) > 0 { // IPv4 with TCP or UDP
			copy(p[12:], []byte{8, 0, 0x45})
			copy(p[20:], []byte{0, 0, 64, []byte{6, 17}[r.IntN(2)]})
			copy(p[34:], []byte{0, []byte{80, 53}[r.IntN(2)], 0, []byte{80, 99}[r.IntN(2)]})
		}
		starts = append(starts, len(buf))
		for _, v := range []uint32{1, 2, uint32(len(p)), uint32(len(p) + r.IntN(3)*100)} {
			buf = order.AppendUint32(buf, v)
		}
		buf = append(buf, p...)
	}
	return buf, starts
}

// check compares sweeps over buf with the VM, record by record.
func check(t *testing.T, prog []classic.Instruction, order binary.ByteOrder, buf []byte, starts []int) {
	t.Helper()
	s, err := New(prog, order == binary.BigEndian, maxPacket)
	if errors.Is(err, ErrUnfit) {
		oracle.Need(t, "native sweeps", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	vm, err := classic.NewVM(prog, classic.Libpcap)
	if err != nil {
		t.Fatal(err)
	}
	matches := map[int]bool{}
	at, packets, matched := 0, 0, 0
	for {
		r, err := s.Sweep(buf, at)
		if err != nil {
			t.Fatal(err)
		}
		for _, start := range starts {
			if start >= r.Start && start < r.End {
				matches[start] = true
			}
		}
		packets += r.Packets
		matched += r.Matched
		if r.Next == at {
			break
		}
		at = r.Next
	}
	if packets != len(starts) || matched != len(matches) || at != len(buf) {
		t.Errorf("%d packets of %d, %d matches in runs of %d, %d bytes of %d", packets, len(starts), matched, len(matches), at, len(buf))
	}
	for _, start := range starts {
		h := buf[start:]
		data := h[recordHeader:][:order.Uint32(h[8:])]
		want := vm.Run(data, &classic.Aux{Length: int(order.Uint32(h[12:]))}) != 0
		if matches[start] != want {
			t.Fatalf("record at %d: %v, want %v\n%s", start, matches[start], want, classic.AppendProgram(nil, prog, classic.Listing))
		}
	}
}

func TestSweepsAgreeWithTheVM(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 9))
	for _, expr := range []string{"", "ip", "tcp port 80", "udp port 53 or (vlan and udp port 53)", "greater 100", "less 60 and tcp",
		"(tcp[tcpflags] & (tcp-syn|tcp-fin) != 0) and not src and dst net 10.0.0.0/8 and (port 80 or portrange 8000-8100)",
		"ether[0] * 3 % 7 = 2", "ip[70000] = 0", "icmp[ip[0]:4] << ip[3] > 7"} {
		prog, err := pcap.CompileProgram(expr, pcap.Ethernet, maxPacket, nil)
		if err != nil {
			t.Fatal(err)
		}
		little, starts := records(r, binary.LittleEndian, 500)
		check(t, prog, binary.LittleEndian, little, starts)
		big, starts := records(r, binary.BigEndian, 500)
		check(t, prog, binary.BigEndian, big, starts)
	}
}

func TestUnfitPrograms(t *testing.T) {
	for _, text := range []string{"again: ldb [x]\njeq #1, again1\ntax\nja again\nagain1: ret a", "ldb vlan_avail\nret a"} {
		prog, err := classic.Assemble("t", text, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := New(prog, false, maxPacket); !errors.Is(err, ErrUnfit) {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func TestSweepStopsAtWhatIsNotWhole(t *testing.T) {
	prog := []classic.Instruction{{Code: classic.RET | classic.K, K: 1}}
	s, err := New(prog, false, 100)
	if errors.Is(err, ErrUnfit) {
		oracle.Need(t, "native code", err)
	}
	defer s.Close()
	record := binary.LittleEndian.AppendUint32(make([]byte, 8), 4)
	record = append(record, 4, 0, 0, 0, 'd', 'a', 't', 'a')
	long := append([]byte(nil), record...)
	long[8] = 101
	for _, c := range []struct {
		name string
		buf  []byte
		next int
	}{
		{"nothing", nil, 0}, {"half a header", record[:15], 0}, {"half a packet", record[:19], 0}, {"whole", record, 20},
		{"too long", append(long, make([]byte, 200)...), 0},
		{"one and a half", append(append([]byte(nil), record...), record[:18]...), 20},
	} {
		if r, err := s.Sweep(c.buf, 0); err != nil || r.Next != c.next || r.End != c.next {
			t.Errorf("%s: %+v, %v", c.name, r, err)
		}
	}
}
