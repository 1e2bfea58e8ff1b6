package hook_test

import (
	"encoding/binary"
	"testing"
	"time"

	"github.com/cilium/ebpf"

	"github.com/skep-bpf/skep"
	"github.com/skep-bpf/skep/internal/linux"
	"github.com/skep-bpf/skep/internal/oracle"
)

// cubicMoment and cubicCall are struct moment and struct call of testdata/cubic.c.
type cubicMoment struct {
	Cwnd, Cnt, Ssthresh, Jiffies uint32
	Priv                         [64]byte
}

type cubicCall struct {
	Pacing, Mstamp                                            uint64
	Member, Arg, Status, GSO, Clamp, Sent, Una, Nxt, Ret, Pad uint32
	Before, After                                             cubicMoment
}

// u32 is a number of struct bictcp, by its index.
func (m *cubicMoment) u32(i int) uint32 { return binary.NativeEndian.Uint32(m.Priv[4*i:]) }

// Members of struct bictcp.
const (
	bicCnt    = 0
	bicEpoch  = 7
	bicK      = 5
	bicLength = 60
)

// What the functions of CUBIC make of a connection is what it is in the kernel, call by call: each is made again here of what it
// found there.
func TestCubicAgainstKernel(t *testing.T) {
	oracle.Need(t, "bpf(2)", linux.Available())
	object := compiled(t, "cubic")
	spec, err := ebpf.LoadCollectionSpec(object)
	if err != nil {
		t.Fatal(err)
	}
	var calls []cubicCall
	for range 20 { // connections, until one is held back by its window, and on a curve: that depends on the moment
		bss := kernelDrives(t, object, "cubic", 64<<20)
		calls = make([]cubicCall, binary.NativeEndian.Uint32(bss[spec.Variables["calls"].Offset:]))
		if _, err := binary.Decode(bss[spec.Variables["noted"].Offset:], binary.NativeEndian, calls); err != nil {
			t.Fatal(err)
		}
		grew, curved := 0, false
		for _, c := range calls {
			if c.Before.Jiffies != c.After.Jiffies {
				continue
			}
			curved = curved || c.After.u32(bicK) != 0
			if c.Member == 3 && c.Before != c.After {
				grew++
			}
		}
		if grew >= 10 && curved {
			break
		}
	}

	const initialJiffies, tick = uint32(1<<32 - 300*250), 4 * time.Millisecond
	at := func(jiffies uint32) time.Duration { return time.Duration(jiffies-initialJiffies) * tick }
	clock := skep.NewManualClock(uint64(at(calls[0].Before.Jiffies)), time.Unix(0, 0))
	m, err := skep.NewMachine(&skep.MachineOptions{CPUs: 1, Checked: engine.Checked, JIT: engine.JIT, Clock: clock})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	coll, ops := loadedOps(t, m, object, "cubic")
	sk, err := m.NewKernelStruct("tcp_sock")
	if err != nil {
		t.Fatal(err)
	}
	defer sk.Close()
	sample, err := m.NewKernelStruct("ack_sample")
	if err != nil {
		t.Fatal(err)
	}
	defer sample.Close()
	// The program cuts the window by itself: here it is not to.
	cut := coll.Maps[".bss"]
	var b []byte
	if err := cut.Lookup(uint32(0), &b); err != nil {
		t.Fatal(err)
	}
	binary.NativeEndian.PutUint32(b[spec.Variables["cut"].Offset:], 4)
	if err := cut.Put(uint32(0), b); err != nil {
		t.Fatal(err)
	}

	const sock = "inet_conn.icsk_inet.sk."
	now, seen, grown, curves, ticks := calls[0].Before.Jiffies, map[uint32]int{}, 0, 0, map[uint32]bool{}
	for i, c := range calls {
		if c.Before.Jiffies != c.After.Jiffies { // a tick in between: which time it was is not known
			continue
		}
		clock.Advance(time.Duration(c.Before.Jiffies-now) * tick)
		now = c.Before.Jiffies
		// Whether the window was what kept the connection from sending is seen in what became of it.
		limits := c.Before != c.After
		for path, v := range map[string]uint64{
			"snd_cwnd": uint64(c.Before.Cwnd), "snd_cwnd_cnt": uint64(c.Before.Cnt), "snd_ssthresh": uint64(c.Before.Ssthresh), "snd_cwnd_clamp": uint64(c.Clamp),
			"lsndtime": uint64(c.Sent), "snd_una": uint64(c.Una), "snd_nxt": uint64(c.Nxt), "tcp_mstamp": c.Mstamp, "max_packets_out": 0,
			sock + "sk_pacing_rate": c.Pacing, sock + "sk_pacing_status": uint64(c.Status), sock + "sk_gso_max_size": uint64(c.GSO),
			"is_cwnd_limited": map[bool]uint64{true: 1}[limits],
		} {
			if err := sk.Set(path, v); err != nil {
				t.Fatal(err)
			}
		}
		priv := sk.Bytes("inet_conn.icsk_ca_priv")
		copy(priv, c.Before.Priv[:])
		name := []string{"", "init", "ssthresh", "cong_avoid", "set_state", "cwnd_event", "pkts_acked"}[c.Member]
		args := []any{sk}
		switch name {
		case "cong_avoid":
			args = append(args, 0, c.Arg)
		case "set_state", "cwnd_event":
			args = append(args, c.Arg)
		case "pkts_acked":
			sample.Set("rtt_us", uint64(c.Arg))
			args = append(args, sample)
		}
		ret, err := ops.Call(name, args...)
		if err != nil {
			t.Fatal(err)
		}
		got := cubicMoment{Jiffies: now}
		for path, to := range map[string]*uint32{"snd_cwnd": &got.Cwnd, "snd_cwnd_cnt": &got.Cnt, "snd_ssthresh": &got.Ssthresh} {
			v, _ := sk.Get(path)
			*to = uint32(v)
		}
		copy(got.Priv[:], priv)
		seen[c.Member]++
		if name == "cong_avoid" && limits {
			grown++
			ticks[now] = true
		}
		want := c.After
		if k, kernels := got.u32(bicK), want.u32(bicK); name == "cong_avoid" && c.Before.u32(bicEpoch) == 0 && k != kernels {
			// A cube root, which the kernel takes from a table: near is enough, and what follows from it then.
			if d := int64(k) - int64(kernels); d*d*200*200 > int64(kernels)*int64(kernels) && d*d > 1 {
				t.Errorf("call %d: a K of %d, the kernel's is %d", i, k, kernels)
			}
			curves++
			continue
		}
		if want.u32(bicK) != 0 {
			curves++
		}
		clear(got.Priv[bicLength:])
		clear(want.Priv[bicLength:])
		if got != want || name == "ssthresh" && uint32(ret) != c.Ret {
			t.Fatalf("call %d of %s(%d), before\n%+v\nbecame\n%+v, %d, the kernel's\n%+v, %d", i, name, c.Arg, c.Before, got, ret, want, c.Ret)
		}
	}
	if grown < 10 || curves == 0 || seen[1] == 0 || seen[2] == 0 || seen[6] == 0 {
		t.Errorf("%d of %d calls grew the window, %d on a curve, in %d ticks; by member %v", grown, len(calls), curves, len(ticks), seen)
	}
	t.Logf("%d of %d calls grew the window, %d on a curve, in %d ticks; by member %v", grown, len(calls), curves, len(ticks), seen)
}
