package helpers

import (
	"math"

	"github.com/cilium/ebpf/btf"

	"github.com/skep-bpf/skep/internal/kstruct"
	"github.com/skep-bpf/skep/internal/mem"
)

// What CUBIC is set to unless somebody changes it (/sys/module/tcp_cubic/parameters), RFC 9438.
const (
	cubicBeta      = 717 // of cubicOne is left after a loss
	cubicOne       = 1024
	cubicHZ        = 10      // time is counted in 2^-10 s
	cubicRTTScale  = 41 * 10 // bic_scale, of 1024 a second cubed, for 100 ms
	cubicFactor    = (1 << 40) / cubicRTTScale
	cubicFriendly  = 8 * (cubicOne + cubicBeta) / 3 / (cubicOne - cubicBeta)
	hystartLow     = 16   // packets: below, slow start does not end early
	hystartSpacing = 2000 // microseconds between acknowledgments of a train
	hystartSamples = 8
	hystartMin     = 4000 // microseconds that the delay has to grow by
	hystartMax     = 16000

	ticks = 250 // HZ

	caEventTxStart = 0
	caLoss         = 4
)

// cubicFields are the members of struct bictcp, which lies in icsk_ca_priv, and those of a tcp_sock that CUBIC alone looks at.
type cubicFields struct {
	cnt, lastMax, lastCwnd, lastTime, origin, k, delayMin, epoch, acks, tcpCwnd,
	samples, found, roundStart, endSeq, lastAck, currRTT kstruct.Place
	state, reset kstruct.Place // the state, and what is cleared of it: all before unused

	mstamp, sent, una, nxt, pacing, pacingStatus, gso kstruct.Place

	pkts, rtt  kstruct.Place // of an ack_sample
	sampleSize uint32
}

// cubicView is a tcp_sock under CUBIC.
type cubicView struct {
	tcpView
	*cubicFields
	priv []byte // the struct bictcp
	now  uint32 // jiffies
}

func (c *cubicView) ca(p kstruct.Place) uint32       { return uint32(p.Get(c.priv)) }
func (c *cubicView) setCA(p kstruct.Place, v uint32) { p.Put(c.priv, uint64(v)) }

// cubicKfunc makes a kernel function of one over a tcp_sock under CUBIC and two words.
func cubicKfunc(f func(c *cubicView, e *Env, a, b uint64) uint64) func(*btf.Spec) Func {
	return func(spec *btf.Spec) Func {
		fields, size := tcpFieldsOf(spec)
		cubic := cubicFieldsOf(spec)
		if fields == nil || cubic == nil {
			return nil
		}
		return func(e *Env, sk, a, b, _, _ uint64) uint64 {
			if !e.readable(sk, uint64(size)) { // the kernel would fault
				return 0
			}
			bytes := mem.Bytes(sk, int(size))
			return f(&cubicView{tcpView{fields, bytes}, cubic, bytes[cubic.state.Off/8:][:cubic.state.Bits/8], uint32(e.Host.Jiffies())}, e, a, b)
		}
	}
}

func cubicFieldsOf(spec *btf.Spec) *cubicFields {
	var tcp, ca, sample *btf.Struct
	if spec == nil || spec.TypeByName("tcp_sock", &tcp) != nil || spec.TypeByName("bictcp", &ca) != nil || spec.TypeByName("ack_sample", &sample) != nil {
		return nil
	}
	f := &cubicFields{sampleSize: sample.Size}
	const sock = "inet_conn.icsk_inet.sk."
	for _, in := range []struct {
		of    btf.Type
		paths map[string]*kstruct.Place
	}{
		{ca, map[string]*kstruct.Place{
			"cnt": &f.cnt, "last_max_cwnd": &f.lastMax, "last_cwnd": &f.lastCwnd, "last_time": &f.lastTime, "bic_origin_point": &f.origin,
			"bic_K": &f.k, "delay_min": &f.delayMin, "epoch_start": &f.epoch, "ack_cnt": &f.acks, "tcp_cwnd": &f.tcpCwnd,
			"sample_cnt": &f.samples, "found": &f.found, "round_start": &f.roundStart, "end_seq": &f.endSeq, "last_ack": &f.lastAck,
			"curr_rtt": &f.currRTT, "unused": &f.reset,
		}},
		{tcp, map[string]*kstruct.Place{
			"tcp_mstamp": &f.mstamp, "lsndtime": &f.sent, "snd_una": &f.una, "snd_nxt": &f.nxt, sock + "sk_pacing_rate": &f.pacing,
			sock + "sk_pacing_status": &f.pacingStatus, sock + "sk_gso_max_size": &f.gso,
		}},
		{sample, map[string]*kstruct.Place{"pkts_acked": &f.pkts, "rtt_us": &f.rtt}},
	} {
		for path, to := range in.paths {
			p, ok := kstruct.Find(in.of, path)
			if !ok || !p.IsNumber() {
				return nil
			}
			*to = p
		}
	}
	p, ok := kstruct.Find(tcp, "inet_conn.icsk_ca_priv")
	if !ok || p.Bits/8 < ca.Size {
		return nil
	}
	f.state = p
	return f
}

// forget is the state of a connection that begins again.
func (c *cubicView) forget() {
	clear(c.priv[:c.reset.Off/8])
	c.setCA(c.found, 0)
}

// round begins a round trip of HyStart.
func (c *cubicView) round() {
	now := c.get(c.mstamp)
	c.setCA(c.roundStart, now)
	c.setCA(c.lastAck, now)
	c.setCA(c.endSeq, c.get(c.nxt))
	c.setCA(c.currRTT, math.MaxUint32)
	c.setCA(c.samples, 0)
}

func cubicInit(c *cubicView, _ *Env, _, _ uint64) uint64 {
	c.forget()
	c.round()
	return 0
}

func cubicState(c *cubicView, _ *Env, state, _ uint64) uint64 {
	if uint8(state) == caLoss {
		c.forget()
		c.round()
	}
	return 0
}

// cubicEvent leaves the time out in which nothing was sent.
func cubicEvent(c *cubicView, _ *Env, event, _ uint64) uint64 {
	epoch, idle := c.ca(c.epoch), int32(c.now-c.get(c.sent))
	if uint32(event) != caEventTxStart || epoch == 0 || idle <= 0 {
		return 0
	}
	epoch += uint32(idle)
	if int32(epoch-c.now) > 0 {
		epoch = c.now
	}
	c.setCA(c.epoch, epoch)
	return 0
}

func cubicSsthresh(c *cubicView, _ *Env, _, _ uint64) uint64 {
	c.setCA(c.epoch, 0)
	cwnd := c.get(c.cwnd)
	most := cwnd
	if cwnd < c.ca(c.lastMax) { // it fell again: another one wants its share
		most = cwnd * (cubicOne + cubicBeta) / (2 * cubicOne)
	}
	c.setCA(c.lastMax, most)
	return uint64(max(cwnd*cubicBeta/cubicOne, 2))
}

func cubicAvoid(c *cubicView, _ *Env, _, n uint64) uint64 {
	acked := uint32(n)
	if !c.windowLimits() {
		return 0
	}
	if c.inSlowStart() {
		if acked = c.slowStart(acked); acked == 0 {
			return 0
		}
	}
	c.update(acked)
	c.congAvoidAI(c.ca(c.cnt), acked)
	return 0
}

// update computes how many acknowledged packets the window grows by one for.
func (c *cubicView) update(acked uint32) {
	cwnd := c.get(c.cwnd)
	c.setCA(c.acks, c.ca(c.acks)+acked)
	if c.ca(c.lastCwnd) == cwnd && int32(c.now-c.ca(c.lastTime)) <= ticks/32 {
		return
	}
	if c.ca(c.epoch) == 0 || c.ca(c.lastTime) != c.now {
		c.curve(cwnd, acked)
	}
	cnt := c.ca(c.cnt)
	// Reno's window, which this one is not to stay below.
	if each := cwnd * cubicFriendly >> 3; each > 0 {
		if acks := c.ca(c.acks); acks > each {
			more := (acks - 1) / each
			c.setCA(c.acks, acks-more*each)
			c.setCA(c.tcpCwnd, c.ca(c.tcpCwnd)+more)
		}
	}
	if reno := c.ca(c.tcpCwnd); reno > cwnd {
		cnt = min(cnt, cwnd/(reno-cwnd))
	}
	c.setCA(c.cnt, max(cnt, 2))
}

// curve computes it from where the window is to be by the cubic function.
func (c *cubicView) curve(cwnd, acked uint32) {
	c.setCA(c.lastCwnd, cwnd)
	c.setCA(c.lastTime, c.now)
	most := c.ca(c.lastMax)
	if c.ca(c.epoch) == 0 {
		c.setCA(c.epoch, c.now)
		c.setCA(c.acks, acked)
		c.setCA(c.tcpCwnd, cwnd)
		k := uint32(0)
		if most > cwnd {
			k = cubeRoot(cubicFactor * uint64(most-cwnd))
		}
		c.setCA(c.k, k)
		c.setCA(c.origin, max(most, cwnd))
	}
	// Where the window is to be in a round trip.
	const tick = 1_000_000 / ticks
	t := uint64(int64(int32(c.now-c.ca(c.epoch)))) + uint64((c.ca(c.delayMin)+tick-1)/tick)
	t = t << cubicHZ / ticks
	k := uint64(c.ca(c.k))
	far := max(t, k) - min(t, k)
	delta := uint32(cubicRTTScale * far * far * far >> (10 + 3*cubicHZ))
	target := c.ca(c.origin) + delta
	if t < k {
		target = c.ca(c.origin) - delta
	}
	cnt := 100 * cwnd
	if target > cwnd {
		cnt = cwnd / (target - cwnd)
	}
	if most == 0 { // nothing is known of the path
		cnt = min(cnt, 20)
	}
	c.setCA(c.cnt, cnt)
}

// cubeRoot is the cube root, rounded. The kernel's, from a table of 64 and a step of Newton's, is within 0.5 % of it.
func cubeRoot(v uint64) uint32 { return uint32(math.Round(math.Cbrt(float64(v)))) }

func cubicAcked(c *cubicView, e *Env, sample, _ uint64) uint64 {
	if !e.readable(sample, uint64(c.sampleSize)) {
		return 0
	}
	rtt := int32(c.rtt.Get(mem.Bytes(sample, int(c.sampleSize))))
	if rtt < 0 { // not known
		return 0
	}
	if epoch := c.ca(c.epoch); epoch != 0 && int32(c.now-epoch) < ticks { // right after a loss
		return 0
	}
	delay := uint32(max(rtt, 1))
	if least := c.ca(c.delayMin); least == 0 || least > delay {
		c.setCA(c.delayMin, delay)
	}
	if c.ca(c.found) == 0 && c.inSlowStart() {
		c.hystart(delay)
	}
	return 0
}

// hystart ends slow start where acknowledgments come in a train as long as half a round trip, or the delay grows.
func (c *cubicView) hystart(delay uint32) {
	if int32(c.ca(c.endSeq)-c.get(c.una)) < 0 {
		c.round()
	}
	if c.get(c.cwnd) < hystartLow {
		return
	}
	least := c.ca(c.delayMin)
	end := false
	if now := c.get(c.mstamp); int32(now-c.ca(c.lastAck)) <= hystartSpacing {
		c.setCA(c.lastAck, now)
		most := least
		if rate := c.pacing.Get(c.b); rate != 0 { // what offloads hold packets back
			most += uint32(min(1000, uint64(c.get(c.gso))*4*1_000_000/rate))
		}
		if c.get(c.pacingStatus) == 0 {
			most >>= 1
		}
		end = int32(now-c.ca(c.roundStart)) > int32(most)
	}
	c.setCA(c.currRTT, min(c.ca(c.currRTT), delay))
	if n := c.ca(c.samples); n < hystartSamples {
		c.setCA(c.samples, n+1)
	} else if c.ca(c.currRTT) > least+min(max(least>>3, hystartMin), hystartMax) {
		end = true
	}
	if end {
		c.setCA(c.found, 1)
		c.put(c.ssthresh, c.get(c.cwnd))
	}
}
