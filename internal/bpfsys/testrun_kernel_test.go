//go:build linux

package bpfsys

import (
	"encoding/binary"
	"fmt"
	"math/bits"
	gonet "net"
	"testing"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/oracle/netns"
	"github.com/skep-bpf/skep/internal/packet"
	"github.com/skep-bpf/skep/internal/testrun"
	"github.com/skep-bpf/skep/isa"
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

// TestRunsOnDevices asks both sides for runs on devices that are there and on others, and their queues: in a
// namespace whose devices the machine has too, and on a machine that has none but the loopback device.
func TestRunsOnDevices(t *testing.T) {
	netns.In(t, func() {
		k := both(t)
		netns.Pair(t, "near0", "far0", 3)
		near, err := gonet.InterfaceByName("near0")
		if err != nil {
			t.Fatal(err)
		}
		index := uint32(near.Index)
		progs := map[catalog.ProgType][]isa.Instruction{}
		for typ, text := range map[catalog.ProgType]string{
			catalog.ProgXDP:      "r0 = *(u32 *)(r1 + 12)\nr0 <<= 8\nr1 = *(u32 *)(r1 + 16)\nr0 |= r1\nexit",
			catalog.ProgSchedCls: "r0 = *(u32 *)(r1 + 40)\nr0 <<= 8\nr1 = *(u32 *)(r1 + 4)\nr0 |= r1\nexit", // ifindex, pkt_type
		} {
			p, err := isa.Assemble("devices", text, isa.Symbols{})
			if err != nil {
				t.Fatal(err)
			}
			progs[typ] = p
		}
		load := func(d *side, typ catalog.ProgType) int32 {
			copy(d.mem[atInsns:], isa.Encode(progs[typ], binary.NativeEndian))
			a := d.load(typ)
			a.InsnCnt = uint32(len(progs[typ]))
			return d.must(t, fmt.Sprint(typ, " on devices"), ProgLoad, raw(a))
		}
		var xdp, tc [2]int32
		for i, d := range k {
			xdp[i], tc[i] = load(d, catalog.ProgXDP), load(d, catalog.ProgSchedCls)
		}
		run := func(k [2]*side, what string, fds [2]int32, ctx any) {
			t.Helper()
			b, err := binary.Append(nil, binary.NativeEndian, ctx)
			if err != nil {
				t.Fatal(err)
			}
			ask(t, k, what, ProgTestRun, attrSize, maskFor(ProgTestRun), func(d *side) []byte {
				copy(d.mem[atValue:], b)
				a := testRun{ProgFd: fds[0], DataIn: d.addr(atData), DataSizeIn: 60, CtxIn: d.addr(atValue), CtxSizeIn: uint32(len(b)),
					CtxOut: d.addr(atOut), CtxSizeOut: uint32(len(b))}
				if d == k[1] {
					a.ProgFd = fds[1]
				}
				return raw(a)
			})
		}
		all := func(what string) {
			for _, ifindex := range []uint32{0, 1, index, index + 1000} {
				for _, queue := range []uint32{0, 1, 2, 3, 1 << 31} {
					for _, egress := range []uint32{0, index} {
						for _, data := range []uint32{0, 2, 8} {
							md := testrun.XDPMd{Data: data, DataEnd: 60, IngressIfindex: ifindex, RxQueueIndex: queue, EgressIfindex: egress}
							run(k, fmt.Sprintf("%s: %+v", what, md), xdp, md)
						}
					}
				}
				for _, segs := range []uint32{0, 1 << 20} {
					run(k, fmt.Sprintf("%s: __sk_buff of device %d, %d segments", what, ifindex, segs), tc,
						testrun.SKBuff{Ifindex: ifindex, IngressIfindex: 777, GSOSegs: segs})
				}
			}
		}
		net := k[1].sys.m.Net().(*packet.StaticNet)
		net.AddDevice(packet.Device{Ifindex: index, Name: "near0", MAC: [6]byte(near.HardwareAddr), RxQueues: 3})
		all("with devices")
		net.RemoveDevice(index)
		netns.IP(t, "link del near0")
		all("without devices")
	})
}
