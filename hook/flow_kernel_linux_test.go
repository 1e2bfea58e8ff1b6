package hook_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"testing"

	"github.com/skep-bpf/skep"
	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/linux"
	"github.com/skep-bpf/skep/internal/oracle"
	"github.com/skep-bpf/skep/internal/testprog"
)

// dissect adds the packet's first two bytes to the offset of the network header and the next two to that of the
// transport header, takes the ports from where the packet says the keys' own places are, and copies what
// it was given into the addresses. It returns what bpf_skb_load_bytes does.
const dissect = `
r6 = r1
r7 = *(u64 *)(r6 + 144)
r1 = *(u32 *)(r6 + 76)
r2 = *(u32 *)(r6 + 80)
r3 = r1
r3 += 14
r0 = 7
if r3 > r2 goto out
r3 = *(u16 *)(r7 + 0)
*(u32 *)(r7 + 16) = r3
r3 = *(u16 *)(r7 + 2)
*(u32 *)(r7 + 20) = r3
r3 = *(u16 *)(r7 + 10)
*(u32 *)(r7 + 24) = r3
r3 = *(u32 *)(r7 + 48)
*(u32 *)(r7 + 28) = r3
r2 -= r1
*(u32 *)(r7 + 32) = r2
r3 = *(u16 *)(r7 + 0)
r4 = *(u16 *)(r1 + 0)
r3 += r4
*(u16 *)(r7 + 0) = r3
r3 = *(u16 *)(r7 + 2)
r4 = *(u16 *)(r1 + 2)
r3 += r4
*(u16 *)(r7 + 2) = r3
r3 = *(u32 *)(r7 + 52)
r3 += 1
*(u32 *)(r7 + 52) = r3
*(u8 *)(r7 + 9) = 17
*(u32 *)(r10 - 8) = -1
r1 = r6
r2 = 12
r3 = r10
r3 += -8
r4 = 2
call skb_load_bytes
r3 = *(u32 *)(r10 - 8)
*(u32 *)(r7 + 36) = r3
out:
exit`

// TestFlowDissectorAgainstKernel has test runs of the kernel's and ours take the same packets apart.
func TestFlowDissectorAgainstKernel(t *testing.T) {
	oracle.Need(t, "bpf(2)", linux.Available())
	p := testprog.Prog{Name: "p", Type: catalog.ProgFlowDissector, Attach: catalog.AttachFlowDissector, Text: dissect}
	kprog, _ := kernelProg(t, testprog.Image(t, nil, p), "p")
	_, coll := setup(t, nil, p)

	frame := func(size int, nh, th uint16) []byte {
		b := make([]byte, size)
		binary.NativeEndian.PutUint16(b, nh)
		binary.NativeEndian.PutUint16(b[2:], th)
		binary.BigEndian.PutUint16(b[12:], 0x0800)
		return b
	}
	runs := 0
	compare := func(what string, data, ctx []byte, repeat uint32) {
		t.Helper()
		run := linux.Run{Data: data, Ctx: bytes.Clone(ctx), CtxRoom: 80, Repeat: repeat}
		kout, kerr := kprog.TestRun(&run)
		opts := skep.RunOptions{Data: data, DataOut: make([]byte, 256), Repeat: repeat}
		if ctx != nil {
			opts.Context = ctx
		}
		ret, err := coll.Programs["p"].Run(&opts)
		var e, ke skep.Errno
		errors.As(err, &e)
		errors.As(kerr, &ke)
		if e != ke || (err == nil) != (kerr == nil) || err == nil && (ret != kout.Ret || !bytes.Equal(opts.DataOut, kout.Data)) {
			t.Errorf("%s: %d %x %v, kernel says %d %x %v", what, ret, opts.DataOut, err, kout.Ret, kout.Data, kerr)
		}
		if err == nil {
			runs++
		}
	}
	for _, size := range []int{14, 15, 34, 60, 1500, 4096} {
		for _, nh := range []uint16{0, 1, 20, 100, 0xfff2, 0xffff} {
			for _, th := range []uint16{0, 1, 40, 2000, 0xfff0} {
				compare(fmt.Sprintf("%d bytes, %d, %d", size, nh, th), frame(size, nh, th), nil, 0)
			}
		}
	}
	if runs != 6*6*5 {
		t.Errorf("%d runs succeeded", runs)
	}
	compare("too short", frame(64, 0, 0)[:13], nil, 0)
	compare("longer than a page", frame(4097, 0, 0), nil, 0)
	compare("many times", frame(64, 1, 2), nil, 5)
	ctx := make([]byte, 56)
	compare("zero context", frame(64, 1, 2), ctx, 0)
	for i := range ctx {
		clear(ctx)
		ctx[i] = 5
		compare(fmt.Sprintf("context with byte %d", i), frame(64, 1, 2), ctx, 3)
	}
	compare("short context", frame(64, 1, 2), []byte{0, 0, 0, 0}, 0)
	compare("long context", frame(64, 1, 2), make([]byte, 80), 0)
	compare("longer context", frame(64, 1, 2), append(make([]byte, 60), 1), 0)
}
