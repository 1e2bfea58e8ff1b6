package tc

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/skep-bpf/skep/internal/cli/iproute"
	"github.com/skep-bpf/skep/internal/cli/ui"
	"github.com/skep-bpf/skep/internal/rtnl"
)

// showFilters lists the filters of a hook; each priority has a line of its own
// before those of its filters, as a kernel tells of them.
func showFilters(s *ui.Streams, o *iproute.Options, l *filterLine) error {
	p := printer{o: o, l: l, json: iproute.NewJSON(o.Pretty)}
	get := l.q.Op == "get"
	found := 0
	err := iproute.Ask(o, rtnl.VerbFilters, rtnl.FilterQuery{Dev: l.q.Dev, Hook: l.q.Hook}, nil, func(f rtnl.Filter) error {
		if l.q.Priority != 0 && f.Priority != l.q.Priority || !l.q.AnyProto && l.q.Protocol != 3 && f.Protocol != l.q.Protocol ||
			get && f.Handle != l.q.Handle {
			return nil
		}
		found++
		if !get && f.Priority != p.last {
			p.last = f.Priority
			p.filter(&f, false)
		}
		p.filter(&f, true)
		return nil
	})
	if err != nil {
		return err
	}
	if get && found == 0 {
		return fmt.Errorf("Specified filter handle not found")
	}
	if o.JSON {
		p.text.WriteString(p.json.Done())
	}
	_, err = fmt.Fprint(s.Out, p.text.String())
	return err
}

type printer struct {
	o    *iproute.Options
	l    *filterLine
	text strings.Builder
	json *iproute.JSON
	last uint16 // the priority whose line was printed
}

// says tells whether a fact is printed: what was asked for is not said again.
func (p *printer) says(open bool) bool { return open || p.l.q.Op == "get" }

// filter prints a filter, or with whole false the line of its priority.
func (p *printer) filter(f *rtnl.Filter, whole bool) {
	if p.o.JSON {
		p.asJSON(f, whole)
		return
	}
	p.text.WriteString("filter ")
	if p.l.q.Op == "get" {
		p.text.WriteString(p.l.q.Hook + " ")
	} else if f.Parent && !p.l.parent {
		p.text.WriteString("parent ffff: ")
	}
	if p.says(p.l.q.AnyProto) {
		fmt.Fprintf(&p.text, "protocol %s ", protocolName(f.Protocol))
	}
	if p.says(p.l.q.Priority == 0) {
		fmt.Fprintf(&p.text, "pref %d ", f.Priority)
	}
	p.text.WriteString("bpf chain 0 ")
	if !whole {
		p.text.WriteString("\n")
		return
	}
	fmt.Fprintf(&p.text, "handle %#x ", f.Handle)
	if f.ClassID != 0 {
		fmt.Fprintf(&p.text, "flowid %s ", className(f.ClassID))
	}
	if f.Name != "" {
		p.text.WriteString(f.Name + " ")
	}
	if f.Direct {
		p.text.WriteString("direct-action ")
	}
	p.text.WriteString("not_in_hw ")
	if f.Code != "" {
		fmt.Fprintf(&p.text, "bytecode '%s'", f.Code)
	} else {
		p.text.WriteString(iproute.ProgText(&f.Prog, p.o.Details))
	}
	for i := range f.Actions {
		p.action(i, &f.Actions[i])
	}
	p.text.WriteString("\n")
}

// controlName is how an action's control is printed.
func controlName(word string) string {
	switch word {
	case "ok":
		return "pass"
	case "shot":
		return "drop"
	}
	return word
}

// action prints an action below its filter.
func (p *printer) action(i int, a *rtnl.Action) {
	fmt.Fprintf(&p.text, "\n\taction order %d: ", i+1)
	switch a.Kind {
	case "mirred":
		direction, verb := "Egress", "Redirect"
		if a.Ingress {
			direction = "Ingress"
		}
		if a.Mirror {
			verb = "Mirror"
		}
		fmt.Fprintf(&p.text, "mirred (%s %s to device %s) %s\n\t", direction, verb, a.Dev, controlName(a.Control))
	case "bpf":
		if a.Name != "" {
			fmt.Fprintf(&p.text, "bpf %s ", a.Name)
		} else {
			fmt.Fprintf(&p.text, "bpf bytecode '%s' ", a.Object.Code)
		}
		if a.Prog != nil && a.Name != "" {
			p.text.WriteString(iproute.ProgText(a.Prog, p.o.Details))
		}
		fmt.Fprintf(&p.text, "default-action %s\n\t", controlName(a.Control))
	default:
		fmt.Fprintf(&p.text, "gact action %s\n\t random type none pass val 0\n\t ", controlName(a.Control))
	}
	fmt.Fprintf(&p.text, "index %d ref 1 bind 1", a.Index)
	if p.o.Stats > 0 {
		fmt.Fprintf(&p.text, " installed %d sec", int(a.Installed))
		if a.Used >= 0 {
			fmt.Fprintf(&p.text, " used %d sec firstused %d sec", int(a.Used), int(a.First))
		} else {
			fmt.Fprintf(&p.text, " used %d sec", int(a.Installed))
		}
		fmt.Fprintf(&p.text, "\n\tAction statistics:\n\tSent %d bytes %d pkt (dropped %d, overlimits 0 requeues 0) \n\tbacklog 0b 0p requeues 0",
			a.Bytes, a.Packets, a.Drops)
	}
	p.text.WriteString("\n")
}

func (p *printer) asJSON(f *rtnl.Filter, whole bool) {
	w := p.json
	w.Object()
	if f.Parent && !p.l.parent {
		w.Name("parent").String("ffff:")
	}
	if p.says(p.l.q.AnyProto) {
		w.Name("protocol").String(protocolName(f.Protocol))
	}
	if p.says(p.l.q.Priority == 0) {
		w.Name("pref").Uint(uint64(f.Priority))
	}
	w.Name("kind").String("bpf").Name("chain").Uint(0)
	if whole {
		w.Name("options").Object()
		w.Name("handle").String(fmt.Sprintf("%#x", f.Handle))
		if f.ClassID != 0 {
			w.Name("flowid").String(className(f.ClassID))
		}
		if f.Name != "" {
			w.Name("bpf_name").String(f.Name)
		}
		if f.Direct {
			w.Name("direct-action").Bool(true)
		}
		w.Name("not_in_hw").Bool(true)
		if f.Code != "" {
			bytecodeJSON(w, f.Code)
		} else {
			iproute.ProgJSON(w, &f.Prog, p.o.Details)
		}
		if len(f.Actions) > 0 {
			w.Name("actions").Array()
			for i := range f.Actions {
				p.actionJSON(i, &f.Actions[i])
			}
			w.End()
		}
		w.End()
	}
	w.End()
}

func (p *printer) actionJSON(i int, a *rtnl.Action) {
	w := p.json
	w.Object().Name("order").Uint(uint64(i + 1)).Name("kind").String(a.Kind)
	switch a.Kind {
	case "mirred":
		verb, direction := "redirect", rtnl.Egress
		if a.Mirror {
			verb = "mirror"
		}
		if a.Ingress {
			direction = rtnl.Ingress
		}
		w.Name("mirred_action").String(verb).Name("direction").String(direction).Name("to_dev").String(a.Dev)
	case "bpf":
		if a.Name != "" {
			w.Name("bpf_name").String(a.Name)
		}
		if a.Prog != nil && a.Name != "" {
			iproute.ProgJSON(w, a.Prog, p.o.Details)
		}
	}
	w.Name("control_action").Object().Name("type").String(controlName(a.Control)).End()
	w.Name("index").Uint(uint64(a.Index)).Name("ref").Uint(1).Name("bind").Uint(1)
	if p.o.Stats > 0 {
		w.Name("installed").Uint(uint64(a.Installed))
		if a.Used >= 0 {
			w.Name("last_used").Uint(uint64(a.Used)).Name("first_used").Uint(uint64(a.First))
		} else {
			w.Name("last_used").Uint(uint64(a.Installed))
		}
		w.Name("stats").Object().Name("bytes").Uint(a.Bytes).Name("packets").Uint(a.Packets).Name("drops").Uint(a.Drops)
		for _, name := range []string{"overlimits", "requeues", "backlog", "qlen"} {
			w.Name(name).Uint(0)
		}
		w.End()
	}
	w.End()
}

// bytecodeJSON writes a classic program, "1,6 0 0 4294967295".
func bytecodeJSON(w *iproute.JSON, code string) {
	fields := strings.FieldsFunc(code, func(r rune) bool { return r == ',' || r == ' ' })
	var n []uint64
	for _, f := range fields {
		v, _ := strconv.ParseUint(f, 10, 64)
		n = append(n, v)
	}
	w.Name("bytecode").Object().Name("length").Uint(n[0]).Name("insns").Array()
	for i := 1; i+4 <= len(n); i += 4 {
		w.Object().Name("code").Uint(n[i]).Name("jt").Uint(n[i+1]).Name("jf").Uint(n[i+2]).Name("k").Uint(n[i+3]).End()
	}
	w.End().End()
}
