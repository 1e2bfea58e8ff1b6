//go:build linux

package bpfsys

import (
	"encoding/binary"
	"fmt"
	"testing"
	"unsafe"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/isa"
)

// opsCode are programs for members, by what they do.
var opsCode = map[string]string{
	"nothing": "r0 = 7\nexit\n",
	"state":   "r1 = *(u64 *)(r1 + 0)\nif r1 == 0 goto none\nr0 = *(u32 *)(r1 + 0)\n*(u32 *)(r1 + 0) = 0x5a\nexit\nnone:\nr0 = -77\nexit\n",
	"trusted": "r1 = *(u64 *)(r1 + 0)\nr0 = *(u32 *)(r1 + 0)\n*(u32 *)(r1 + 0) = 0x5b\nexit\n",
	"args": `r2 = *(u64 *)(r1 + 8)
r0 = *(u64 *)(r1 + 16)
r0 <<= 1
r0 += r2
r2 = *(u64 *)(r1 + 24)
r0 ^= r2
r2 = *(u64 *)(r1 + 32)
r2 >>= 7
r0 += r2
exit
`,
}

// TestStructOpsRunAgainstKernel runs programs for members of bpf_dummy_ops by hand, and for one of tcp_congestion_ops.
func TestStructOpsRunAgainstKernel(t *testing.T) {
	spec := kernelSpec()
	dummy, tcp := catalog.OpsNamed(spec, "bpf_dummy_ops"), catalog.OpsNamed(spec, "tcp_congestion_ops")
	if dummy == nil || tcp == nil {
		t.Skip("this kernel has no bpf_dummy_ops, or no tcp_congestion_ops")
	}
	const none = 1 << 40 // no memory
	type runs struct {
		member, code string
		sleepable    bool
		nr           int       // words of context
		args         [5]uint64 // 1 as the first: the state
		change       func(d *side, a *testRun)
	}
	cases := map[string]runs{
		"state":              {"test_1", "state", false, 1, [5]uint64{1}, nil},
		"no state":           {"test_1", "state", false, 1, [5]uint64{}, nil},
		"no memory":          {"test_1", "state", false, 1, [5]uint64{none}, nil},
		"no context":         {"test_1", "state", false, 0, [5]uint64{}, nil},
		"a word too many":    {"test_1", "state", false, 2, [5]uint64{1}, nil},
		"args":               {"test_2", "args", false, 5, [5]uint64{1, 0xfffffff3, 0xffe5, 0x9c, 0xfedcba9876543210}, nil},
		"wide args":          {"test_2", "args", false, 5, [5]uint64{1, 1<<40 | 3, 1<<40 | 7, 1<<20 | 9, 1 << 63}, nil},
		"args, no state":     {"test_2", "args", false, 5, [5]uint64{0, 1, 2, 3, 4}, nil},
		"args, trusted":      {"test_2", "trusted", false, 5, [5]uint64{1, 1, 2, 3, 4}, nil},
		"args too few":       {"test_2", "args", false, 4, [5]uint64{1}, nil},
		"nothing, no memory": {"test_2", "nothing", false, 5, [5]uint64{none}, nil},
		"sleepable":          {"test_sleepable", "trusted", true, 1, [5]uint64{1}, nil},
		"sleepable, NULL":    {"test_sleepable", "trusted", true, 1, [5]uint64{}, nil},
		"not sleepable":      {"test_sleepable", "nothing", false, 1, [5]uint64{1}, nil},
		"flags":              {"test_1", "state", false, 1, [5]uint64{1}, func(_ *side, a *testRun) { a.Flags = 0xff }},
		"cpu":                {"test_1", "state", false, 1, [5]uint64{1}, func(_ *side, a *testRun) { a.Cpu = 77 }},
		"repeat":             {"test_1", "state", false, 1, [5]uint64{1}, func(_ *side, a *testRun) { a.Repeat = 3 }},
		"batch":              {"test_1", "state", false, 1, [5]uint64{1}, func(_ *side, a *testRun) { a.BatchSize = 3 }},
		"data":               {"test_1", "state", false, 1, [5]uint64{1}, func(d *side, a *testRun) { a.DataIn, a.DataSizeIn = d.addr(atData), 20 }},
		"data out":           {"test_1", "state", false, 1, [5]uint64{1}, func(d *side, a *testRun) { a.DataOut, a.DataSizeOut = d.addr(atOut), 20 }},
		"context out":        {"test_1", "state", false, 1, [5]uint64{1}, func(d *side, a *testRun) { a.CtxOut, a.CtxSizeOut = d.addr(atOut), 8 }},
		"context nowhere":    {"test_1", "state", false, 1, [5]uint64{1}, func(_ *side, a *testRun) { a.CtxIn = none }},
		"size alone":         {"test_1", "state", false, 1, [5]uint64{1}, func(_ *side, a *testRun) { a.CtxIn = 0 }},
		"tcp":                {"init", "nothing", false, 1, [5]uint64{1}, nil},
		"tcp, no context":    {"init", "nothing", false, 0, [5]uint64{}, nil},
	}
	sides := both(t)
	for what, c := range cases {
		var got [2]string
		for i, d := range sides {
			s := &opsSide{d, t, dummy, nil}
			if c.member == "init" {
				s.ops = tcp
			}
			code, err := isa.Assemble("", opsCode[c.code], isa.Symbols{})
			if err != nil {
				t.Fatal(err)
			}
			copy(d.mem[atInsns:], isa.Encode(code, binary.NativeEndian))
			a := d.load(catalog.ProgStructOps)
			idx, _ := s.member(c.member)
			a.InsnCnt, a.AttachBtfId, a.ExpectedAttachType = uint32(len(code)), uint32(s.ops.StructID), uint32(idx)
			if c.sleepable {
				a.ProgFlags = catalog.LoadSleepable
			}
			fd := d.must(t, what, ProgLoad, raw(a))
			binary.NativeEndian.PutUint32(d.mem[atZero:], 0x1234)
			for n, v := range c.args {
				if n == 0 && v == 1 {
					v = d.addr(atZero)
				}
				binary.NativeEndian.PutUint64(d.mem[atLookup+8*n:], v)
			}
			run := testRun{ProgFd: fd, CtxSizeIn: uint32(8 * c.nr)}
			if c.nr > 0 {
				run.CtxIn = d.addr(atLookup)
			}
			if c.change != nil {
				c.change(d, &run)
			}
			attr := raw(run)
			_, e := d.bpf(ProgTestRun, attr, attrSize)
			after := func(off uintptr) uint32 { return u32at(attr, int(off)) }
			got[i] = fmt.Sprintf("%v, R0 %#x, state %#x, duration %d, context %d, data %d", e, after(unsafe.Offsetof(run.Retval)),
				u32at(d.mem[atZero:], 0), after(unsafe.Offsetof(run.Duration)), after(unsafe.Offsetof(run.CtxSizeOut)), after(unsafe.Offsetof(run.DataSizeOut)))
			d.close(fd)
		}
		if got[0] != got[1] {
			t.Errorf("%s:\nlinux %s\nskep  %s", what, got[0], got[1])
		}
	}
	clear(sides[0].mem[atZero:][:4])
	clear(sides[1].mem[atZero:][:4])
}
