package hook_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/skep-bpf/skep"
	"github.com/skep-bpf/skep/hook"
	"github.com/skep-bpf/skep/image"
	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/testprog"
)

// What a program writes down of each call: words, then the header it sees.
const (
	opsRecord = 256 // bytes
	opsHeader = 160 // where in it the header is
	opsMost   = 200 // calls

	wOp, wArg0, wArg1, wState, wLocalPort, wFull, wLen, wSeen = 0, 1, 2, 5, 8, 10, 11, 13
)

// opsLog is a program that writes each call down, and tries all helpers.
func opsLog() string {
	b := &strings.Builder{}
	fmt.Fprintf(b, `r6 = r1
*(u32 *)(r10 - 4) = 0
r2 = r10
r2 += -4
r1 = map_idx[0] ll
call map_lookup_elem
if r0 == 0 goto out
r9 = r0
r1 = *(u32 *)(r9 + 0)
if r1 > %d goto out
r2 = r1
r2 += 1
*(u32 *)(r9 + 0) = r2
r1 *= %d
r9 += r1
r9 += 8
`, opsMost-1, opsRecord)
	word := 0
	put := func(text string, reg string) {
		fmt.Fprintf(b, "%s*(u32 *)(r9 + %d) = %s\n", text, 4*word, reg)
		word++
	}
	// op, args, state, family, remote_port, local_port, cb flags, is_fullsock, skb_len, tcp_flags
	for _, off := range []int{0, 4, 8, 12, 16, 88, 20, 64, 68, 84, 72, 208, 212} {
		put(fmt.Sprintf("r1 = *(u32 *)(r6 + %d)\n", off), "r1")
	}
	put("r2 = *(u64 *)(r6 + 192)\nr3 = *(u64 *)(r6 + 200)\nr3 -= r2\n", "r3")
	put("r1 = *(u64 *)(r6 + 184)\nr2 = 0\nif r1 == 0 goto +1\nr2 = *(u32 *)(r1 + 72)\n", "r2") // the socket's state
	put("r1 = *(u32 *)(r6 + 24)\nr2 = *(u32 *)(r6 + 28)\nr1 ^= r2\n", "r1")                    // addresses
	for off := 0; off < 60; off += 4 {
		fmt.Fprintf(b, "r2 = *(u64 *)(r6 + 192)\nr3 = *(u64 *)(r6 + 200)\nr4 = r2\nr4 += %d\nif r4 > r3 goto tries\nr5 = *(u32 *)(r2 + %d)\n*(u32 *)(r9 + %d) = r5\n", off+4, off, opsHeader+off)
	}
	b.WriteString("tries:\n")
	try := func(call string) { put(call, "r0") }
	for _, n := range []int{6, 1, 100} {
		try(fmt.Sprintf("r1 = r6\nr2 = %d\nr3 = 0\ncall reserve_hdr_opt\n", n))
	}
	option := func(first uint32, helper string, n, flags int) {
		try(fmt.Sprintf("*(u32 *)(r10 - 16) = %d\n*(u32 *)(r10 - 12) = 0\nr1 = r6\nr2 = r10\nr2 += -16\nr3 = %d\nr4 = %d\ncall %s\n", int32(first), n, flags, helper))
	}
	const magic, plain = 0x9feb << 16, 0
	option(253|4<<8|magic, "store_hdr_opt", 4, 0)
	option(253|4<<8|magic, "store_hdr_opt", 4, 0) // once more
	option(2|4<<8, "store_hdr_opt", 4, 0)         // in a SYN there is one
	option(77|2<<8|plain, "store_hdr_opt", 2, 0)
	option(1, "store_hdr_opt", 2, 0)
	option(78|5<<8, "store_hdr_opt", 4, 0)
	option(253|4<<8|magic, "load_hdr_opt", 8, 0)
	try("r0 = *(u32 *)(r10 - 16)\n")
	option(253|4<<8|0x1234<<16, "load_hdr_opt", 8, 0)
	option(2, "load_hdr_opt", 8, 0)
	option(8, "load_hdr_opt", 4, 0)
	option(8|2<<8, "load_hdr_opt", 4, 0)
	option(2, "load_hdr_opt", 8, 1)
	for i, call := range []string{"sock_map_update", "sock_hash_update"} {
		try(fmt.Sprintf("*(u32 *)(r10 - 4) = 0\nr1 = r6\nr2 = map_idx[%d] ll\nr3 = r10\nr3 += -4\nr4 = 0\ncall %s\n", i+1, call))
	}
	b.WriteString("\nr1 = r6\nr2 = 0x1ff\ncall sock_ops_cb_flags_set\n")
	put("", "r0")
	if 4*word > opsHeader {
		panic("BUG: the words reach the header")
	}
	b.WriteString("out:\nr0 = 1\nexit")
	return b.String()
}

// opsCalls reads what was written down.
func opsCalls(b []byte) (calls [][]byte) {
	for i := range int(binary.NativeEndian.Uint32(b)) {
		calls = append(calls, b[8+opsRecord*i:][:opsRecord])
	}
	return calls
}

// TestSockOpsAgainstKernel opens, uses and closes a connection of the kernel's, and has the same happen to
// ours: its programs see the same, in the same order, and their helpers answer the same.
func TestSockOpsAgainstKernel(t *testing.T) {
	const at = skep.AttachCGroupSockOps
	maps := []*image.Map{{Name: "seen", Type: catalog.MapArray, KeySize: 4, ValueSize: 8 + opsRecord*opsMost, MaxEntries: 1},
		{Name: "map", Type: catalog.MapSockMap, KeySize: 4, ValueSize: 4, MaxEntries: 1},
		{Name: "hash", Type: catalog.MapSockHash, KeySize: 4, ValueSize: 4, MaxEntries: 9}}
	p := cgroupPairWith(t, 1, maps, testprog.Prog{Name: "log", Type: catalog.ProgSockOps, Attach: at, Text: opsLog()})
	p.attach(0, "log", at, 0)
	for _, keep := range []bool{false, true} {
		none := make([]byte, maps[0].ValueSize)
		p.kmaps[0].Update(make([]byte, 4), none, 0)
		p.coll.Maps["seen"].Put(uint32(0), none)
		l, to := kernelSock(t, unix.SOCK_STREAM, netip.MustParseAddrPort("127.0.0.1:0"))
		if keep {
			unix.SetsockoptInt(l, unix.IPPROTO_TCP, unix.TCP_SAVE_SYN, 1)
		}
		if err := unix.Listen(l, 1); err != nil {
			t.Fatal(err)
		}
		c, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		if err := unix.Connect(c, sockaddr(to)); err != nil {
			t.Fatal(err)
		}
		sa, _ := unix.Getsockname(c)
		from := addrPort(sa)
		a, _, err := unix.Accept(l)
		if err != nil {
			t.Fatal(err)
		}
		unix.Write(c, []byte("hello"))
		unix.Read(a, make([]byte, 8))
		unix.Close(c)
		unix.Read(a, make([]byte, 8))
		unix.Close(a)
		b := make([]byte, len(none))
		if err := p.kmaps[0].Lookup(make([]byte, 4), b, 0); err != nil {
			t.Fatal(err)
		}
		var sides [2][][]byte // of who connects, and of who listens
		word := func(r []byte, i int) uint32 { return binary.NativeEndian.Uint32(r[4*i:]) }
		for _, r := range opsCalls(b) {
			i := 0
			if word(r, wLocalPort) == uint32(to.Port()) {
				i = 1
			}
			sides[i] = append(sides[i], r)
		}
		for side, kernel := range sides {
			p.coll.Maps["seen"].Put(uint32(0), none)
			sock := func(spec skep.SocketSpec) *hook.SockOps {
				spec.Protocol = skep.ProtoTCP
				s, err := p.mach.NewSocket(spec)
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { s.Close() })
				o, err := p.leaf().SockOps(s)
				if err != nil {
					t.Fatal(err)
				}
				return o
			}
			var o, listener *hook.SockOps
			// segment is one as the kernel's programs saw it, whose header has n bytes.
			segment := func(r []byte, payload int) []byte {
				n := int(word(r, wSeen))
				seg := append(append([]byte(nil), r[opsHeader:][:n]...), make([]byte, payload)...)
				seg[12] = seg[12]&0xf | byte(n/4)<<4
				return seg
			}
			check := func(err error) {
				t.Helper()
				if err != nil {
					t.Fatal(err)
				}
			}
			for i := 0; i < len(kernel); i++ {
				r := kernel[i]
				next := func(k int) []byte { // the record that follows, or an empty one
					if i+k < len(kernel) {
						return kernel[i+k]
					}
					return make([]byte, opsRecord)
				}
				switch op := word(r, wOp); op {
				case 3: // TCP_CONNECT_CB; the socket is its own
					o = sock(skep.SocketSpec{Local: from, Remote: to, State: skep.SocketClose})
					_, err := o.Connect()
					check(err)
					i += 3
				case 11:
					listener = sock(skep.SocketSpec{Local: to, State: skep.SocketClose})
					check(listener.Listen())
				case 2: // RWND_INIT of a request
					syn := segment(sides[0][5], 0) // as who connects has written it
					syn = append(syn, 253, 4, 0xeb, 0x9f, 77, 2, 1, 1)
					syn[12] += 2 << 4
					req, _, err := listener.Request(from, to, syn, keep)
					check(err)
					o = req
					i++
				case 14:
					if word(r, wArg0) == 1 {
						_, err := o.HeaderRoom(28)
						check(err)
						break
					}
					w := next(1)
					if word(w, wOp) != 15 {
						t.Fatalf("side %d: room is asked for, and then there is %d", side, word(w, wOp))
					}
					_, _, err := o.Send(segment(w, int(word(r, wLen))))
					check(err)
					i++
					if word(r, wFull) == 0 {
						i++ // NEEDS_ECN
					}
				case 10:
					if word(r, wArg0) == hook.TCPSynSent {
						w := next(1)
						check(o.Established(segment(w, int(word(w, wLen)-word(w, wSeen)))))
						i++
						break
					}
					check(o.SetState(word(r, wArg1)))
				case 12:
					if word(r, wState) == hook.TCPSynRecv {
						w := next(1)
						o, err = o.Accept(nil, segment(w, int(word(w, wLen)-word(w, wSeen))), word(r, wArg0), word(r, wArg1))
						check(err)
						i += 2
						break
					}
					check(o.RTT(word(r, wArg0), word(r, wArg1)))
				case 5:
					o, err = o.Accept(nil, segment(r, int(word(r, wLen)-word(r, wSeen))))
					check(err)
					i++
				case 13:
					check(o.Received(segment(r, int(word(r, wLen)-word(r, wSeen)))))
				default:
					t.Fatalf("side %d: the kernel told of %d", side, op)
				}
			}
			ours := make([]byte, len(none))
			if err := p.coll.Maps["seen"].Lookup(uint32(0), &ours); err != nil {
				t.Fatal(err)
			}
			we := opsCalls(ours)
			if len(we) != len(kernel) || len(kernel) < 10 {
				t.Errorf("side %d: %d calls, the kernel had %d", side, len(we), len(kernel))
			}
			for i := range min(len(we), len(kernel)) {
				for w := 0; w < opsRecord; w += 4 {
					if !bytes.Equal(we[i][w:w+4], kernel[i][w:w+4]) {
						t.Errorf("keep %v, side %d, call %d, of op %d: word %d is %x, the kernel's program saw %x", keep, side, i, word(kernel[i], wOp), w/4, we[i][w:w+4], kernel[i][w:w+4])
					}
				}
			}
		}
	}
}
