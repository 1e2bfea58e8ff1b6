package hook_test

import (
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/skep-bpf/skep"
	"github.com/skep-bpf/skep/hook"
	"github.com/skep-bpf/skep/image"
	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/testprog"
)

// unixPair is a connection that is no TCP.
func unixPair(t *testing.T) (client, server net.Conn) {
	t.Helper()
	l, err := net.Listen("unix", t.TempDir()+"/s")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if client, err = net.Dial("unix", l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if server, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close(); server.Close() })
	return client, server
}

// TestSockMapParser cuts a stream into messages of a length that the first byte says,
// 200 for more than there may be, 0 for giving up; the verdict drops those that begin with 2.
func TestSockMapParser(t *testing.T) {
	load := `
r6 = r1
r2 = 0
r3 = r10
r3 += -4
r4 = 1
call skb_load_bytes
if r0 != 0 goto short
r0 = *(u8 *)(r10 - 4)
`
	parser := testprog.Prog{Name: "parser", Type: catalog.ProgSkSKB, Attach: catalog.AttachSkSKBStreamParser, Text: load + `
if r0 != 0 goto out
r0 = -22
out:
if r0 != 200 goto end
r0 <<= 20
end:
exit
short:
r0 = 0
exit`}
	verdict := testprog.Prog{Name: "verdict", Type: catalog.ProgSkSKB, Attach: catalog.AttachSkSKBStreamVerdict, Text: load + `
if r0 == 2 goto short
r0 = 1
exit
short:
r0 = 0
exit`}
	maps := []*image.Map{{Name: "socks", Type: catalog.MapSockMap, KeySize: 4, ValueSize: 4, MaxEntries: 2}}
	for _, end := range []struct {
		last string
		err  error
	}{{"", io.EOF}, {"\x00", hook.ErrMessage}, {"\xc8", hook.ErrMessage}} {
		m, coll := setup(t, maps, parser, verdict)
		h, err := hook.NewSockMap(m, coll.Maps["socks"])
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"parser", "verdict"} {
			if err := h.Attach(coll.Programs[name], coll.Programs[name].AttachType()); err != nil {
				t.Fatal(err)
			}
		}
		client, server := tcpOverLoopback(t)
		c, err := h.Put(uint32(1), server)
		if err != nil {
			t.Fatal(err)
		}
		for _, part := range []string{"\x03ab\x02x", "\x05cd", "ef\x01", "\x02y\x04ghi" + end.last} {
			if _, err := client.Write([]byte(part)); err != nil {
				t.Fatal(err)
			}
		}
		const want = "\x03ab\x05cdef\x01\x04ghi"
		b := make([]byte, len(want))
		if _, err := io.ReadFull(c, b); err != nil || string(b) != want {
			t.Fatalf("%q, %v", b, err)
		}
		client.(*net.TCPConn).CloseWrite()
		if n, err := c.Read(b); n != 0 || !errors.Is(err, end.err) {
			t.Errorf("after %q: %d bytes, %v", end.last, n, err)
		}
		if s := h.Stats(); s.Passed != 4 || s.Dropped != 2 {
			t.Errorf("%+v", s)
		}
		if err := h.Detach(coll.Programs["parser"], skep.AttachSkSKBStreamParser); err != nil {
			t.Error(err)
		}
		if err := h.Detach(coll.Programs["parser"], skep.AttachSkSKBStreamParser); !errors.Is(err, skep.Errno(2)) {
			t.Errorf("detached again: %v", err)
		}
		c.Close()
	}
}

func tcpOverLoopback(t *testing.T) (client, server net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if client, err = net.Dial("tcp4", l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if server, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close(); server.Close() })
	return client, server
}

// TestSockMapConn is a connection as its owner has it.
func TestSockMapConn(t *testing.T) {
	maps := []*image.Map{
		{Name: "socks", Type: catalog.MapSockHash, KeySize: 4, ValueSize: 8, MaxEntries: 2},
		{Name: "array", Type: catalog.MapArray, KeySize: 4, ValueSize: 8, MaxEntries: 2},
	}
	m, coll := setup(t, maps, xdp("x", "r0 = 2\nexit"))
	if _, err := hook.NewSockMap(m, coll.Maps["array"]); err == nil || !strings.Contains(err.Error(), "of type array") {
		t.Errorf("an array is served: %v", err)
	}
	h, err := hook.NewSockMap(m, coll.Maps["socks"])
	if err != nil {
		t.Fatal(err)
	}
	if err := h.Attach(coll.Programs["x"], skep.AttachSkMsgVerdict); err == nil || !strings.Contains(err.Error(), "of type xdp") {
		t.Errorf("an XDP program is attached: %v", err)
	}
	client, server := unixPair(t)
	pipe, _ := net.Pipe()
	if _, err := h.Put(uint32(0), pipe); err == nil || !strings.Contains(err.Error(), "neither TCP") {
		t.Errorf("a pipe is taken: %v", err)
	}
	if _, err := h.Put("abc", server); err == nil {
		t.Error("a key of three bytes is taken")
	}
	c, err := h.Put(uint32(0), server)
	if err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 3)
	for _, way := range [][2]net.Conn{{client, c}, {c, client}} {
		if _, err := way[0].Write([]byte("hey")); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(way[1], b); err != nil || string(b) != "hey" {
			t.Fatalf("%q %v", b, err)
		}
	}
	c.SetDeadline(time.Now().Add(-1))
	if _, err := c.Read(b); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("after the deadline: %v", err)
	}
	c.SetReadDeadline(time.Time{})
	waits := make(chan error)
	go func() { _, err := c.Read(b); waits <- err }()
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	if err := <-waits; !errors.Is(err, net.ErrClosed) {
		t.Errorf("a read of a closed connection: %v", err)
	}
	if err := coll.Maps["socks"].Lookup(uint32(0), new(uint64)); !errors.Is(err, skep.ErrKeyNotExist) {
		t.Errorf("a closed connection's place: %v", err)
	}
}
