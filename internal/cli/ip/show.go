package ip

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/skep-bpf/skep/internal/cli/iproute"
	"github.com/skep-bpf/skep/internal/cli/ui"
	"github.com/skep-bpf/skep/internal/rtnl"
)

// show lists devices.
func show(s *ui.Streams, o *iproute.Options, a *iproute.Args) error {
	var q rtnl.Named
	up, kind := false, ""
	for a.More() {
		switch word := a.Next(); word {
		case "dev":
			var err error
			if q.Name, err = a.Value(word); err != nil {
				return err
			}
		case "up":
			up = true
		case "type":
			var err error
			if kind, err = a.Value(word); err != nil {
				return err
			}
		default:
			if q.Name != "" {
				return ui.Usagef("%q is too much: see skep ip help", word)
			}
			q.Name = word
		}
	}
	var text strings.Builder
	w := iproute.NewJSON(o.Pretty)
	err := iproute.Ask(o, rtnl.VerbLinkList, q, nil, func(l rtnl.Link) error {
		switch {
		case up && !l.Up, kind != "" && l.Kind != kind:
		case o.JSON:
			asJSON(w, o, &l)
		case o.Brief:
			fmt.Fprintf(&text, "%-16s %-14s %s <%s> \n", fullName(&l), state(&l), l.Address, strings.Join(flags(&l), ","))
		default:
			asText(&text, o, &l)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if o.JSON {
		text.WriteString(w.Done())
	}
	_, err = fmt.Fprint(s.Out, text.String())
	return err
}

func fullName(l *rtnl.Link) string {
	if l.Peer != "" {
		return l.Name + "@" + l.Peer
	}
	return l.Name
}

// flags are in iproute2's order.
func flags(l *rtnl.Link) []string {
	var out []string
	if l.Up && !l.Running {
		out = append(out, "NO-CARRIER")
	}
	if l.Kind == rtnl.KindLoopback {
		out = append(out, "LOOPBACK")
	} else {
		out = append(out, "BROADCAST", "MULTICAST")
	}
	if l.Up {
		out = append(out, "UP")
	}
	if l.Up && l.Running {
		out = append(out, "LOWER_UP")
	}
	if l.Peer != "" && !l.PeerUp { // no flag of the device, but a mark of ip's
		out = append(out, "M-DOWN")
	}
	return out
}

func state(l *rtnl.Link) string {
	switch {
	case !l.Up:
		return "DOWN"
	case !l.Running:
		return "LOWERLAYERDOWN"
	case l.Kind == rtnl.KindLoopback, l.Tunnel.Under != "": // nobody knows of a carrier
		return "UNKNOWN"
	}
	return "UP"
}

func qdisc(l *rtnl.Link) string {
	if l.WasUp {
		return "noqueue"
	}
	return "noop"
}

func linkType(l *rtnl.Link) (kind, broadcast string) {
	if l.Kind == rtnl.KindLoopback {
		return "loopback", "00:00:00:00:00:00"
	}
	return "ether", "ff:ff:ff:ff:ff:ff"
}

// asText is a device as ip link show prints it: a line that begins at the margin,
// and those that belong to it.
func asText(b *strings.Builder, o *iproute.Options, l *rtnl.Link) {
	head := fmt.Sprintf("%d: %s: <%s> mtu %d ", l.Index, fullName(l), strings.Join(flags(l), ","), l.MTU)
	if l.XDPMode != "" {
		head += l.XDPMode + " "
	}
	head += fmt.Sprintf("qdisc %s state %s mode DEFAULT group default qlen 1000", qdisc(l), state(l))
	kind, broadcast := linkType(l)
	address := fmt.Sprintf("link/%s %s brd %s", kind, l.Address, broadcast)
	if o.Details {
		address += " promiscuity 0  allmulti 0 minmtu 68 maxmtu 65535 "
	}
	lines := []string{head, address}
	if o.Details {
		lines = append(lines, fmt.Sprintf("%s numrxqueues %d ", kindText(l), l.Queues))
	}
	if l.In != "" && !l.Up && !l.Ended {
		lines = append(lines, fmt.Sprintf("%s waits: skep ip link set dev %s up", filepath.Base(l.In), l.Name))
	}
	if l.XDP != nil {
		lines = append(lines, "prog/xdp "+iproute.ProgText(l.XDP, o.Details))
	}
	if o.Details {
		lines = append(lines, progLines("tcx", l.TCX)...)
		lines = append(lines, progLines("netkit", l.Netkit)...)
	}
	if o.Stats > 0 {
		lines = append(lines, statsLines(&l.Stats)...)
	}
	between := "\n    "
	if o.OneLine {
		between = "\\    "
	}
	b.WriteString(strings.Join(lines, between) + "\n")
}

// kindText is what a device of its kind has beside the others.
func kindText(l *rtnl.Link) string {
	text := l.Kind
	for _, v := range []struct{ name, value string }{{"in", l.In}, {"out", l.Out}, {"dev", l.Host}} {
		if v.value != "" {
			text += " " + v.name + " " + v.value
		}
	}
	switch {
	case l.Kind == rtnl.KindPacket && l.Write:
		text += " rw"
	case l.Kind == rtnl.KindPacket:
		text += " ro"
	case l.Kind == rtnl.KindNetkit && l.Primary:
		text += " mode l2 type primary policy " + l.Policy
	case l.Kind == rtnl.KindNetkit:
		text += " mode l2 type peer policy " + l.Policy
	case l.Kind == rtnl.KindPcap && l.Ended:
		text += " ended"
	case l.Tunnel.Under != "":
		text += " external"
		if l.Tunnel.Local != "" {
			text += " local " + l.Tunnel.Local
		}
		text += fmt.Sprintf(" dev %s dstport %d", l.Tunnel.Under, l.Tunnel.Port)
		if l.Tunnel.GBP {
			text += " gbp"
		}
		if l.Tunnel.NextHop != "" {
			text += " nexthop " + l.Tunnel.NextHop
		}
	}
	return text
}

// tunnelJSON is what a tunnel lies over, as ip prints it where ip has it.
func tunnelJSON(w *iproute.JSON, t *rtnl.Tunnel) {
	w.Name("info_data").Object()
	w.Name("external").Bool(true)
	if t.Local != "" {
		w.Name("local").String(t.Local)
	}
	w.Name("link").String(t.Under)
	w.Name("port").Uint(uint64(t.Port))
	if t.GBP {
		w.Name("gbp").Bool(true)
	}
	if t.NextHop != "" {
		w.Name("nexthop").String(t.NextHop)
	}
	w.End()
}

// progLines are the programs that bpf(2) has attached.
func progLines(what string, hooks map[string][]rtnl.Prog) []string {
	var out []string
	for _, hook := range slices.Sorted(maps.Keys(hooks)) {
		for i := range hooks[hook] {
			p := &hooks[hook][i]
			line := fmt.Sprintf("prog/%s/%s %s", what, hook, iproute.ProgText(p, true))
			if p.Link != 0 {
				line += fmt.Sprintf("link_id %d ", p.Link)
			}
			out = append(out, line)
		}
	}
	return out
}

// statsLines are the counters in columns as wide as their largest number, and
// below them, where there are any, the verdicts of programs.
func statsLines(st *rtnl.Stats) []string {
	titles := [2][]string{
		{"bytes", "packets", "errors", "dropped", "missed", "mcast"},
		{"bytes", "packets", "errors", "dropped", "carrier", "collsns"},
	}
	rows := [2][]uint64{
		{st.RxBytes, st.RxPackets, 0, st.RxDropped, 0, 0},
		{st.TxBytes, st.TxPackets, 0, st.TxDropped, 0, 0},
	}
	widths := []int{len("RX errors:"), 7, 6, 7, 7, 7}
	for _, row := range rows {
		for i, n := range row {
			widths[i] = max(widths[i], len(strconv.FormatUint(n, 10)))
		}
	}
	var out []string
	for d, name := range []string{"RX:", "TX:"} {
		title, row := name+fmt.Sprintf("%*s ", widths[0]-len(name), titles[d][0]), fmt.Sprintf("%*d ", widths[0], rows[d][0])
		for i := 1; i < len(widths); i++ {
			title += fmt.Sprintf("%*s ", widths[i], titles[d][i])
			row += fmt.Sprintf("%*d ", widths[i], rows[d][i])
		}
		out = append(out, title+strings.Repeat(" ", 10), row)
	}
	for _, v := range []struct {
		name   string
		counts map[string]uint64
	}{{"XDP", st.XDP}, {"TC", st.TC}} {
		if len(v.counts) == 0 {
			continue
		}
		line := v.name + ":"
		for _, verdict := range slices.Sorted(maps.Keys(v.counts)) {
			line += fmt.Sprintf(" %s %d", verdict, v.counts[verdict])
		}
		out = append(out, line)
	}
	return out
}

// asJSON is the same as an object.
func asJSON(w *iproute.JSON, o *iproute.Options, l *rtnl.Link) {
	w.Object()
	w.Name("ifindex").Uint(uint64(l.Index))
	if l.Peer != "" {
		w.Name("link").String(l.Peer)
	}
	w.Name("ifname").String(l.Name)
	w.Name("flags").Array()
	for _, f := range flags(l) {
		w.String(f)
	}
	w.End()
	w.Name("mtu").Uint(uint64(l.MTU))
	if l.XDP != nil {
		mode := map[string]uint64{"xdp": 1, "xdpgeneric": 2, "xdpoffload": 3}[l.XDPMode] // XDP_ATTACHED_*
		w.Name("xdp").Object().Name("mode").Uint(mode)
		iproute.ProgJSON(w, l.XDP, o.Details)
		w.Name("attached").Array().Object().Name("mode").Uint(mode)
		iproute.ProgJSON(w, l.XDP, o.Details)
		w.End().End().End()
	}
	w.Name("qdisc").String(qdisc(l))
	w.Name("operstate").String(state(l))
	w.Name("linkmode").String("DEFAULT")
	w.Name("group").String("default")
	w.Name("txqlen").Uint(1000)
	kind, broadcast := linkType(l)
	w.Name("link_type").String(kind)
	w.Name("address").String(l.Address)
	w.Name("broadcast").String(broadcast)
	if o.Details {
		w.Name("linkinfo").Object().Name("info_kind").String(l.Kind)
		if l.Tunnel.Under != "" {
			tunnelJSON(w, &l.Tunnel)
		}
		w.End()
	}
	if o.Stats > 0 {
		statsJSON(w, &l.Stats)
	}
	w.End()
}

func statsJSON(w *iproute.JSON, st *rtnl.Stats) {
	w.Name("stats64").Object()
	for _, d := range []struct {
		name                    string
		bytes, packets, dropped uint64
		between, last           string
	}{
		{"rx", st.RxBytes, st.RxPackets, st.RxDropped, "over_errors", "multicast"},
		{"tx", st.TxBytes, st.TxPackets, st.TxDropped, "carrier_errors", "collisions"},
	} {
		w.Name(d.name).Object()
		w.Name("bytes").Uint(d.bytes).Name("packets").Uint(d.packets)
		w.Name("errors").Uint(0).Name("dropped").Uint(d.dropped)
		w.Name(d.between).Uint(0).Name(d.last).Uint(0)
		w.End()
	}
	w.End()
	for _, v := range []struct {
		name   string
		counts map[string]uint64
	}{{"xdp_verdicts", st.XDP}, {"tc_verdicts", st.TC}} {
		if len(v.counts) == 0 {
			continue
		}
		w.Name(v.name).Object()
		for _, verdict := range slices.Sorted(maps.Keys(v.counts)) {
			w.Name(verdict).Uint(v.counts[verdict])
		}
		w.End()
	}
}
