package tc

import (
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/skep-bpf/skep/internal/cli/iproute"
	"github.com/skep-bpf/skep/internal/cli/ui"
	"github.com/skep-bpf/skep/internal/rtnl"
)

// protocols are the Ethernet types with names of their own (iproute2's llproto_names).
var protocols = []struct {
	name string
	id   uint16
}{
	{"all", 0x0003}, {"ip", 0x0800}, {"ipv4", 0x0800}, {"ipv6", 0x86dd}, {"ip6", 0x86dd}, {"arp", 0x0806}, {"802.1Q", 0x8100}, {"802.1q", 0x8100},
	{"802.1ad", 0x88a8}, {"rarp", 0x8035}, {"mpls_uc", 0x8847}, {"mpls_mc", 0x8848}, {"ppp_disc", 0x8863}, {"ppp_ses", 0x8864},
	{"lldp", 0x88cc}, {"802_3", 0x0001}, {"802_2", 0x0004}, {"loop", 0x0060}, {"pup", 0x0200}, {"x25", 0x0805}, {"aoe", 0x88a2}, {"tipc", 0x88ca}, {"ipx", 0x8137},
}

func protocol(text string) (uint16, error) {
	for _, p := range protocols {
		if p.name == text {
			return p.id, nil
		}
	}
	n, err := strconv.ParseUint(text, 0, 16)
	if err != nil {
		return 0, ui.Usagef("protocol %q: it is a name such as all, ip, ipv6, arp, 802.1q, or a number", text)
	}
	return uint16(n), nil
}

// protocolName is the first name of a type.
func protocolName(id uint16) string {
	for _, p := range protocols {
		if p.id == id {
			return p.name
		}
	}
	return fmt.Sprintf("[%d]", id)
}

// classID reads major:minor, both in hex (get_tc_classid).
func classID(text string) (uint32, error) {
	switch text {
	case "root":
		return 0xffffffff, nil
	case "none":
		return 0, nil
	}
	major, minor, colon := strings.Cut(text, ":")
	var a, b uint64
	var err error
	if !colon { // a bare number is the whole id
		a, err = strconv.ParseUint(text, 16, 32)
		if err == nil {
			return uint32(a), nil
		}
	} else {
		if major != "" {
			a, err = strconv.ParseUint(major, 16, 16)
		}
		if minor != "" && err == nil {
			b, err = strconv.ParseUint(minor, 16, 16)
		}
	}
	if err != nil {
		return 0, ui.Usagef("class id %q: it is major:minor in hexadecimal", text)
	}
	return uint32(a)<<16 | uint32(b), nil
}

// className prints one (sprint_tc_classid).
func className(id uint32) string {
	major, minor := id>>16, id&0xffff
	switch {
	case id == 0xffffffff:
		return "root"
	case id == 0:
		return "none"
	case major == 0:
		return fmt.Sprintf(":%x", minor)
	case minor == 0:
		return fmt.Sprintf("%x:", major)
	}
	return fmt.Sprintf("%x:%x", major, minor)
}

// parents are the two hooks as parents of a clsact qdisc, and that of an ingress one.
var parents = map[string]string{"ffff:fff2": rtnl.Ingress, "ffff:fff3": rtnl.Egress, "ffff:": rtnl.Ingress, "ffff:0": rtnl.Ingress, "root": ""}

// filterLine is what the lines of all filter commands have in common.
type filterLine struct {
	q      rtnl.FilterChange
	parent bool // the hook was named as a parent
	files  []*os.File
}

// filter carries out tc filter.
func filter(s *ui.Streams, o *iproute.Options, a *iproute.Args) error {
	word := a.Next()
	verb := iproute.Verb(word, "add", "change", "replace", "delete", "show", "list", "lst", "get", "help")
	if word == "ls" || word == "" {
		verb = "show"
	}
	switch verb {
	case "help":
		return help(s)
	case "":
		return ui.Usagef("command %q is unknown: see skep tc help", word)
	}
	l := filterLine{q: rtnl.FilterChange{Op: verb, AnyProto: true}}
	defer func() { iproute.Close(l.files) }()
	if err := l.read(a); err != nil {
		return err
	}
	if l.q.Dev == "" {
		return ui.Usagef("not enough information: dev NAME is required")
	}
	switch verb {
	case "show", "list", "lst", "get":
		return showFilters(s, o, &l)
	case "delete":
		l.q.Op = "del"
	default:
		if l.q.Kind == "" {
			return ui.Usagef("which classifier: bpf?")
		}
	}
	return iproute.Ask(o, rtnl.VerbFilter, l.q, l.files, iproute.Log(s))
}

// read reads a line up to the classifier, and with it.
func (l *filterLine) read(a *iproute.Args) error {
	for a.More() {
		var err error
		switch w := a.Next(); w {
		case "dev":
			l.q.Dev, err = a.Value(w)
		case rtnl.Ingress, rtnl.Egress:
			if l.q.Hook != "" {
				return ui.Usagef("%q after %q: a filter has one parent", w, l.q.Hook)
			}
			l.q.Hook = w
		case "root":
		case "parent":
			var text string
			if text, err = a.Value(w); err == nil {
				hook, ok := parents[text]
				if !ok {
					return ui.Usagef("parent %q: there are ffff:fff2 (ingress), ffff:fff3 (egress) and ffff:", text)
				}
				l.q.Hook, l.parent = hook, true
			}
		case "protocol":
			var text string
			if text, err = a.Value(w); err == nil {
				l.q.Protocol, err = protocol(text)
				l.q.AnyProto = false
			}
		case "prio", "pref", "priority", "preference":
			var n uint64
			n, err = a.Number(w, 0xffff)
			l.q.Priority = uint16(n)
		case "handle":
			var n uint64
			n, err = a.Number(w, 0xffffffff)
			l.q.Handle = uint32(n)
		case "chain":
			var n uint64
			if n, err = a.Number(w, 0xffffffff); err == nil && n != 0 {
				return ui.Usagef("chain %d: there is chain 0 only", n)
			}
		case "bpf":
			l.q.Kind = w
			return l.bpf(a)
		default:
			if l.q.Hook == "" && a.Peek() == "bpf" {
				return ui.Usagef("%q is no hook: there are ingress and egress", w)
			}
			if l.q.Op == "add" || l.q.Op == "replace" || l.q.Op == "change" || l.q.Op == "delete" {
				l.q.Kind = w // refused by the machine, in its words
				return nil
			}
			return ui.Usagef("%q is unknown: see skep tc help", w)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// bpf reads the options of the classifier.
func (l *filterLine) bpf(a *iproute.Args) error {
	for a.More() {
		if ok, err := program(a, &l.q.Object, &l.files); err != nil {
			return err
		} else if ok {
			continue
		}
		var err error
		switch w := a.Next(); w {
		case "da", "direct-action":
			l.q.Direct = true
		case "classid", "flowid":
			var text string
			if text, err = a.Value(w); err == nil {
				l.q.ClassID, err = classID(text)
			}
		case "action":
			err = l.action(a)
		case "skip_hw":
		case "skip_sw":
			return ui.Usagef("skip_sw: no device here carries filters out")
		default:
			return ui.Usagef("what mode is %q? See skep tc help", w)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// maxBytecode bounds the text of a classic program, of 4096 instructions at most, in bytes.
const maxBytecode = 1 << 20

// program reads an object, a pinned program or classic BPF.
func program(a *iproute.Args, o *rtnl.Object, files *[]*os.File) (bool, error) {
	switch w := a.Peek(); w {
	case "bytecode":
		a.Next()
		text, err := a.Value(w)
		o.Code = text
		return true, err
	case "bytecode-file":
		a.Next()
		name, err := a.Value(w)
		if err != nil {
			return true, err
		}
		f, err := os.Open(name)
		if err != nil {
			return true, err
		}
		defer f.Close()
		text, err := io.ReadAll(io.LimitReader(f, maxBytecode))
		o.Code = strings.Join(strings.Fields(string(text)), " ")
		return true, err
	}
	return iproute.Object(a, o, files)
}

// isControl tells the words that say what follows an action.
func isControl(word string) bool {
	switch word {
	case "ok", "pass", "drop", "shot", "pipe", "reclassify", "continue", "trap":
		return true
	}
	return false
}

// action reads one action; another may follow, with or without the word action before it.
func (l *filterLine) action(a *iproute.Args) error {
	var act rtnl.ActionSpec
	switch w := a.Peek(); {
	case isControl(w):
		act.Kind, act.Control = "gact", a.Next()
	case w == "gact":
		a.Next()
		a.Accept("action")
		if !isControl(a.Peek()) {
			return ui.Usagef("gact: what is %q? It takes ok, pass, drop, pipe, reclassify, continue or trap", a.Peek())
		}
		act.Kind, act.Control = "gact", a.Next()
	case w == "mirred":
		a.Next()
		act.Kind = "mirred"
		if err := mirred(a, &act); err != nil {
			return err
		}
	case w == "bpf":
		a.Next()
		act.Kind, act.Control, act.File = "bpf", "pipe", len(l.files)
		if ok, err := program(a, &act.Object, &l.files); err != nil {
			return err
		} else if !ok {
			return ui.Usagef("action bpf: what is %q? It takes obj FILE, object-pinned PATH or bytecode CODE", a.Peek())
		}
	default:
		return ui.Usagef("there is no action %q: there are gact, mirred and bpf, and ok, drop, pipe and their like", w)
	}
	if act.Kind != "gact" && isControl(a.Peek()) {
		act.Control = a.Next()
	}
	if a.Accept("index") {
		return ui.Usagef("index: actions are not shared between filters here")
	}
	l.q.Actions = append(l.q.Actions, act)
	return nil
}

// mirred reads "{ingress|egress} {mirror|redirect} dev NAME".
func mirred(a *iproute.Args, act *rtnl.ActionSpec) error {
	direction, verb := a.Next(), a.Next()
	switch {
	case direction != rtnl.Ingress && direction != rtnl.Egress:
		return ui.Usagef("mirred: what is %q? It goes ingress or egress", direction)
	case verb != "mirror" && verb != "redirect":
		return ui.Usagef("mirred: what is %q? It takes mirror or redirect", verb)
	case !a.Accept("dev"):
		return ui.Usagef("mirred: where to? Say dev NAME")
	}
	act.Ingress, act.Mirror = direction == rtnl.Ingress, verb == "mirror"
	if act.Control = "stolen"; act.Mirror {
		act.Control = "pipe"
	}
	var err error
	act.Dev, err = a.Value("dev")
	return err
}
