package helpers

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"testing"

	"github.com/skep-bpf/skep/internal/catalog"
)

// TestConntrack asks for connections that nobody tracks, in all ways that are wrong.
func TestConntrack(t *testing.T) {
	var scripts []script
	for name, c := range map[string]struct {
		tuple, size uint64
		netns       int32
		proto       byte
		rest        [6]byte // from dir on
	}{
		"TCP": {12, 16, -1, 6, [6]byte{}}, "UDP": {36, 16, -1, 17, [6]byte{}}, "short": {12, 12, -1, 6, [6]byte{}},
		"a zone": {12, 16, -1, 6, [6]byte{1: 5}}, "a zone, short": {12, 12, -1, 6, [6]byte{1: 5}},
		"size 8": {12, 8, -1, 6, [6]byte{}}, "size 20": {12, 20, -1, 6, [6]byte{}},
		"ICMP": {12, 16, -1, 1, [6]byte{}}, "tuple 20": {20, 16, -1, 6, [6]byte{}},
		"no namespace": {12, 16, 77777, 6, [6]byte{}}, "namespace -2": {12, 16, -2, 6, [6]byte{}},
		"reserved": {12, 16, -1, 6, [6]byte{5: 1}},
	} {
		for prog, f := range map[catalog.ProgType]string{tc: "bpf_skb_ct_lookup", xdp: "bpf_xdp_ct_lookup"} {
			mem := make([]byte, 3000)
			binary.NativeEndian.PutUint32(mem[100:], uint32(c.netns))
			mem[108] = c.proto
			copy(mem[109:], c.rest[:])
			st := kcall(f, ctx, data(0), imm(c.tuple), data(100), imm(c.size))
			st.drop = "bpf_ct_release"
			scripts = append(scripts, script{name: fmt.Sprint(prog, " ", name), prog: prog, pkt: tcp4, data: mem, steps: []step{st}})
		}
	}
	runScripts(t, scripts)
}

// TestConntrackStaysInside: options that are too short for an error get none.
func TestConntrackStaysInside(t *testing.T) {
	b := newScratch(t, 64)
	for size := range uint64(8) {
		want(t, "bpf_skb_ct_lookup", KfuncTable["bpf_skb_ct_lookup"](nil, 0, b.Addr(), 0, b.Addr()+32, size), 0)
	}
	if !bytes.Equal(b.Bytes(), make([]byte, 64)) {
		t.Errorf("written to memory that is not the program's: % x", b.Bytes())
	}
}
