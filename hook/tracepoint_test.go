package hook_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/skep-bpf/skep/hook"
	"github.com/skep-bpf/skep/image"
	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/testprog"
)

// noting is a program that copies its context's words from off to end to map m, and counts.
func noting(name string, typ catalog.ProgType, m, off, end int) testprog.Prog {
	var b strings.Builder
	fmt.Fprintf(&b, `
		r6 = r1
		*(u32 *)(r10 - 4) = 0
		r2 = r10
		r2 += -4
		r1 = map_idx[%d] ll
		call bpf_map_lookup_elem
		if r0 == 0 goto out
		r1 = *(u64 *)(r0 + 0)
		r1 += 1
		*(u64 *)(r0 + 0) = r1
	`, m)
	for i := off; i < end; i += 4 {
		if typ == catalog.ProgRawTracepoint {
			fmt.Fprintf(&b, "r1 = *(u64 *)(r6 + %d)\n*(u64 *)(r0 + %d) = r1\n", 2*i, 8+2*i)
		} else {
			fmt.Fprintf(&b, "r1 = *(u32 *)(r6 + %d)\n*(u32 *)(r0 + %d) = r1\n", i, i)
		}
	}
	b.WriteString("out: r0 = 0\nexit\n")
	return testprog.Prog{Name: name, Type: typ, Text: b.String()}
}

// TestTracepoints: what happens in hooks, and what a caller raises, reaches the programs attached.
func TestTracepoints(t *testing.T) {
	value := func(name string) *image.Map {
		return &image.Map{Name: name, Type: catalog.MapArray, KeySize: 4, ValueSize: 64, MaxEntries: 1}
	}
	m, coll := setup(t, []*image.Map{value("raw"), value("record")},
		xdp("abort", "r0 = 0\nexit"), xdp("away", "r1 = 5\nr2 = 0\ncall bpf_redirect\nexit"), xdp("nowhere", "r1 = 99\nr2 = 0\ncall bpf_redirect\nexit"),
		noting("raws", catalog.ProgRawTracepoint, 0, 0, 28), noting("records", catalog.ProgTracepoint, 1, 8, 36), noting("short", catalog.ProgTracepoint, 1, 8, 20))
	words := func(name string) (v [8]uint64) {
		t.Helper()
		b := make([]byte, 64)
		if err := coll.Maps[name].Lookup(uint32(0), &b); err != nil {
			t.Fatal(err)
		}
		if err := coll.Maps[name].Put(uint32(0), make([]byte, 64)); err != nil {
			t.Fatal(err)
		}
		for i := range v {
			v[i] = binary.NativeEndian.Uint64(b[8*i:])
		}
		return v
	}
	record := func() (v [7]int32) {
		w := words("record")
		for i := range v {
			v[i] = int32(w[1+i/2] >> (32 * (i % 2)))
		}
		return v
	}
	// An event of the caller's own.
	own := m.Tracepoint("order_placed")
	if own.Active() {
		t.Error("active without a program")
	}
	if err := own.Raise(nil, 1, 2); err != nil {
		t.Error(err)
	}
	l, err := own.Attach(coll.Programs["raws"], 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := own.Raise(nil, 7, int32(-2), uint8(3), uint64(1)<<63); err != nil {
		t.Error(err)
	}
	if got, want := words("raw"), [8]uint64{1, 7, 1<<64 - 2, 3, 1 << 63}; got != want {
		t.Errorf("raised with %v, want %v", got, want)
	}
	if err := own.Raise(nil, "text", 1.5); err == nil {
		t.Error("raised with a fraction")
	}
	if _, err := own.Attach(coll.Programs["records"], 0); err == nil {
		t.Error("an event without a record takes a tracepoint program")
	}
	if _, err := own.Attach(coll.Programs["abort"], 0); !errors.Is(err, errno.EINVAL) {
		t.Errorf("an event takes an xdp program: %v", err)
	}
	l.Close()
	l.Close()
	if own.Raise(nil, 1); words("raw")[0] != 0 || own.Active() {
		t.Error("a program runs after it was detached")
	}

	// Events of XDP.
	run := func(name string) {
		t.Helper()
		x, err := hook.NewXDP(m, coll.Programs[name], nil)
		if err != nil {
			t.Fatal(err)
		}
		defer x.Close()
		if _, _, err := x.Run(packet(), hook.Meta{Ifindex: 3}); err != nil {
			t.Fatal(err)
		}
	}
	attach := func(event string, progs ...string) {
		t.Helper()
		for _, p := range progs {
			l, err := m.Tracepoint(event).Attach(coll.Programs[p], 0)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { l.Close() })
		}
	}
	id := func(p string) int32 { return int32(coll.Programs[p].ID()) }
	attach("xdp_exception", "raws", "short")
	run("abort")
	if raw := words("raw"); raw[0] != 1 || raw[1] == 0 || raw[2] == 0 || raw[3] != 0 {
		t.Errorf("xdp_exception: %v", raw)
	}
	if got, want := record(), [7]int32{id("abort"), 0, 3}; got != want {
		t.Errorf("xdp_exception: record %v, want %v", got, want)
	}
	attach("xdp_redirect", "records")
	attach("xdp_redirect_err", "raws", "records")
	run("away")
	if got, want := record(), [7]int32{id("away"), 4, 3, 0, 5, 1<<31 - 1, 0}; got != want {
		t.Errorf("xdp_redirect: record %v, want %v", got, want)
	}
	run("nowhere")
	if got, want := record(), [7]int32{id("nowhere"), 4, 3, -22, 99, 1<<31 - 1, 0}; got != want {
		t.Errorf("xdp_redirect_err: record %v, want %v", got, want)
	}
	if raw := words("raw"); raw[0] != 1 || raw[3] != 0 || int32(raw[4]) != -22 || raw[5] != 0 || raw[6] != 1<<31-1 || raw[7] != 99 {
		t.Errorf("xdp_redirect_err: %v", raw)
	}
	if err := m.Tracepoint("xdp_exception").Raise(nil, 1); !errors.Is(err, errno.EINVAL) {
		t.Errorf("a kernel's event is raised with other arguments: %v", err)
	}
}
