package helpers

import (
	"github.com/cilium/ebpf/btf"

	"github.com/skep-bpf/skep/internal/kstruct"
	"github.com/skep-bpf/skep/internal/mem"
)

// TypedKfuncs are the kernel functions that reach into structures of the kernel's: made for its types, and nil
// where these lack a member.
var TypedKfuncs = map[string]func(*btf.Spec) Func{
	"tcp_reno_ssthresh":   tcpKfunc(renoSsthresh),
	"tcp_reno_undo_cwnd":  tcpKfunc(renoUndo),
	"tcp_reno_cong_avoid": tcpKfunc(renoCongAvoid),
	"tcp_slow_start":      tcpKfunc(func(t *tcpView, acked, _ uint32) uint64 { return uint64(t.slowStart(acked)) }),
	"tcp_cong_avoid_ai": tcpKfunc(func(t *tcpView, w, acked uint32) uint64 {
		t.congAvoidAI(w, acked)
		return 0
	}),

	"cubictcp_init":            cubicKfunc(cubicInit),
	"cubictcp_recalc_ssthresh": cubicKfunc(cubicSsthresh),
	"cubictcp_cong_avoid":      cubicKfunc(cubicAvoid),
	"cubictcp_state":           cubicKfunc(cubicState),
	"cubictcp_cwnd_event":      cubicKfunc(cubicEvent),
	"cubictcp_acked":           cubicKfunc(cubicAcked),
}

// tcpFields are the members of a tcp_sock that congestion control works on.
type tcpFields struct {
	cwnd, cwndCnt, clamp, ssthresh, prior, limited, out kstruct.Place
}

// tcpView is a tcp_sock.
type tcpView struct {
	*tcpFields
	b []byte
}

// tcpKfunc makes a kernel function of one over a tcp_sock and two numbers.
func tcpKfunc(f func(t *tcpView, a, b uint32) uint64) func(*btf.Spec) Func {
	return func(spec *btf.Spec) Func {
		fields, size := tcpFieldsOf(spec)
		if fields == nil {
			return nil
		}
		return func(e *Env, sk, a, b, _, _ uint64) uint64 {
			if !e.readable(sk, uint64(size)) { // the kernel would fault
				return 0
			}
			return f(&tcpView{fields, mem.Bytes(sk, int(size))}, uint32(a), uint32(b))
		}
	}
}

// tcpFieldsOf looks the members up, and returns the size of a tcp_sock; nil: the types lack one.
func tcpFieldsOf(spec *btf.Spec) (*tcpFields, uint32) {
	var t *btf.Struct
	if spec == nil || spec.TypeByName("tcp_sock", &t) != nil {
		return nil, 0
	}
	fields := &tcpFields{}
	for path, to := range map[string]*kstruct.Place{
		"snd_cwnd": &fields.cwnd, "snd_cwnd_cnt": &fields.cwndCnt, "snd_cwnd_clamp": &fields.clamp,
		"snd_ssthresh": &fields.ssthresh, "prior_cwnd": &fields.prior,
		"is_cwnd_limited": &fields.limited, "max_packets_out": &fields.out,
	} {
		p, ok := kstruct.Find(t, path)
		if !ok || !p.IsNumber() {
			return nil, 0
		}
		*to = p
	}
	return fields, t.Size
}

func (t *tcpView) get(p kstruct.Place) uint32    { return uint32(p.Get(t.b)) }
func (t *tcpView) put(p kstruct.Place, v uint32) { p.Put(t.b, uint64(v)) }

func (t *tcpView) inSlowStart() bool { return t.get(t.cwnd) < t.get(t.ssthresh) }

// slowStart grows the window by a packet for each one acknowledged, and returns how many are left at its end.
func (t *tcpView) slowStart(acked uint32) uint32 {
	old := t.get(t.cwnd)
	grown := min(old+acked, t.get(t.ssthresh))
	t.put(t.cwnd, min(grown, t.get(t.clamp)))
	return acked - (grown - old)
}

// congAvoidAI grows the window by a packet for each w acknowledged. The kernel divides by w.
func (t *tcpView) congAvoidAI(w, acked uint32) {
	if w == 0 {
		return
	}
	cwnd, n := t.get(t.cwnd), t.get(t.cwndCnt)
	if n >= w { // credit from when w was larger counts once
		n = 0
		cwnd++
	}
	if n += acked; n >= w {
		cwnd += n / w
		n %= w
	}
	t.put(t.cwndCnt, n)
	t.put(t.cwnd, min(cwnd, t.get(t.clamp)))
}

// windowLimits reports whether the window is what keeps the sender from sending more (tcp_is_cwnd_limited).
func (t *tcpView) windowLimits() bool {
	if t.get(t.limited) != 0 {
		return true
	}
	return t.inSlowStart() && t.get(t.cwnd) < 2*t.get(t.out)
}

func renoSsthresh(t *tcpView, _, _ uint32) uint64 { return uint64(max(t.get(t.cwnd)/2, 2)) }

func renoUndo(t *tcpView, _, _ uint32) uint64 { return uint64(max(t.get(t.cwnd), t.get(t.prior))) }

func renoCongAvoid(t *tcpView, _, acked uint32) uint64 {
	if !t.windowLimits() {
		return 0
	}
	if t.inSlowStart() {
		if acked = t.slowStart(acked); acked == 0 {
			return 0
		}
	}
	t.congAvoidAI(t.get(t.cwnd), acked)
	return 0
}
