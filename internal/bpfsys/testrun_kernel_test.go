//go:build linux

package bpfsys

import (
	"fmt"
	"math/bits"
	"testing"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
)

// TestRunsOfTypes asks both sides for a test run of each program type that both load: with a packet, with a
// context, with both and with nothing.
func TestRunsOfTypes(t *testing.T) {
	k := both(t)
	refused := map[catalog.ProgType]bool{}
	for typ := catalog.ProgSocketFilter; typ <= catalog.ProgNetfilter; typ++ {
		var fds [2]int32
		loaded := true
		for i, d := range k {
			a := d.load(typ)
			row := catalog.ProgKindByType(typ)
			a.ExpectedAttachType = uint32(row.Default)
			if row.Attaches != 0 && row.Attaches>>row.Default&1 == 0 {
				a.ExpectedAttachType = uint32(bits.TrailingZeros64(uint64(row.Attaches)))
			}
			switch typ {
			case catalog.ProgTracing:
				a.ExpectedAttachType, a.AttachBtfId = uint32(catalog.AttachTraceRawTp), tracepointType(t, "task_newtask")
			case catalog.ProgSyscall:
				a.ProgFlags = catalog.LoadSleepable
			}
			fd, e := d.bpf(ProgLoad, raw(a), attrSize)
			if e != 0 {
				loaded = false
				continue
			}
			defer d.close(fd)
			fds[i] = fd
		}
		if !loaded { // without a target, or not configured
			t.Logf("%v: not asked", typ)
			continue
		}
		for what, c := range map[string]testRun{
			"nothing":   {},
			"a packet":  {DataSizeIn: 60},
			"a context": {CtxSizeIn: 8},
			"both":      {DataSizeIn: 60, CtxSizeIn: 8},
			"flags":     {DataSizeIn: 60, Flags: 1},
			"a CPU":     {DataSizeIn: 60, Cpu: 1},
			"a batch":   {DataSizeIn: 60, BatchSize: 1},
		} {
			ask(t, k, fmt.Sprintf("%v with %s", typ, what), ProgTestRun, attrSize, maskFor(ProgTestRun), func(d *side) []byte {
				a := c
				a.ProgFd = fds[0]
				if d == k[1] {
					a.ProgFd = fds[1]
				}
				if a.DataSizeIn != 0 {
					a.DataIn = d.addr(atData)
				}
				if a.CtxSizeIn != 0 {
					a.CtxIn = d.addr(atZero)
				}
				return raw(a)
			})
		}
		if _, e := k[1].bpf(ProgTestRun, raw(testRun{ProgFd: fds[1]}), attrSize); e == errno.ENOTSUPP {
			refused[typ] = true
		}
	}
	// Those that Linux 6.18 cannot run by hand either.
	for _, typ := range []catalog.ProgType{catalog.ProgKprobe, catalog.ProgTracepoint, catalog.ProgPerfEvent, catalog.ProgCGroupSock,
		catalog.ProgSockOps, catalog.ProgLWTSeg6Local, catalog.ProgRawTracepointWritable, catalog.ProgSkSKB, catalog.ProgCGroupDevice, catalog.ProgSkMsg, catalog.ProgCGroupSockAddr,
		catalog.ProgSkReuseport, catalog.ProgCGroupSysctl, catalog.ProgCGroupSockopt} {
		if !refused[typ] {
			t.Errorf("%v programs have a test run", typ)
		}
		delete(refused, typ)
	}
	for typ := range refused {
		t.Errorf("%v programs have none", typ)
	}
}
