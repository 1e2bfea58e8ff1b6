// Package tc is skep tc: qdiscs and filters on the devices of a served machine, in
// the manner of iproute2's tc.
package tc

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/skep-bpf/skep/internal/cli/iproute"
	"github.com/skep-bpf/skep/internal/cli/ui"
	"github.com/skep-bpf/skep/internal/rtnl"
)

const usage = `Usage: skep tc [ OPTIONS ] qdisc { add | replace | del } dev NAME { clsact | ingress }
       skep tc [ OPTIONS ] qdisc show [ dev NAME ]
       skep tc [ OPTIONS ] filter { add | replace | change } dev NAME HOOK [ protocol PROTO ] [ prio N ] [ handle H ]
              bpf [ direct-action | da ] PROGRAM [ classid ID ] [ action ACTION ]...
       skep tc [ OPTIONS ] filter del dev NAME HOOK [ protocol PROTO ] [ prio N ] [ handle H bpf ]
       skep tc [ OPTIONS ] filter { show | get } dev NAME HOOK [ prio N ] [ handle H ]
       skep tc exec bpf graft MAP [ key N ] [ type { cls | act | xdp } ] { obj FILE [ sec NAME ] | object-pinned PATH }
       skep tc exec bpf dbg

HOOK := ingress | egress | parent ffff:[fff2|fff3]
PROGRAM := obj FILE [ { sec | prog } NAME ] [ verbose ] | object-pinned PATH | bytecode 'CODE' | bytecode-file FILE
ACTION := CONTROL | mirred { ingress | egress } { mirror | redirect } dev NAME [ CONTROL ] | bpf PROGRAM [ CONTROL ]
CONTROL := ok | pass | drop | shot | pipe | reclassify | continue | trap

OPTIONS := -s[tatistics] -d[etails] -j[son] -p[retty] --machine PATH
`

// NewCmd returns the command.
func NewCmd(s *ui.Streams) *cobra.Command {
	return &cobra.Command{
		Use:   "tc [OPTIONS] {qdisc|filter|exec} ...",
		Short: "Attach programs to the tc hooks of a served machine's devices",
		Long: `Adds, changes, removes and lists clsact and ingress qdiscs and BPF filters on the
devices of the machine that a skep serve keeps, in the manner of iproute2's tc.

` + strings.TrimSuffix(usage, "\n") + `

Without sec a filter's program is the one in section "classifier", an action's in "action".
Maps of the object are pinned, and found again, as iproute2 does it: PIN_GLOBAL_NS and
pinning by name below /sys/fs/bpf/tc/globals, PIN_OBJECT_NS in a directory named by the
object's hash. Programs in sections ID/KEY go into the program array with that id.

exec bpf graft puts a program into a pinned program array, in the place of the one that
is there. exec bpf dbg prints the machine's trace pipe, until it is interrupted.

The machine is the one at --machine PATH, or SKEP_MACHINE in the environment.`,
		Example: `  skep serve /tmp/machine &
  export SKEP_MACHINE=/tmp/machine
  skep ip link add cap0 type pcap in examples/captures/web.pcap
  skep tc qdisc add dev cap0 clsact
  skep tc filter add dev cap0 ingress bpf da obj examples/tc_prio/tc_prio.o sec tc
  skep tc filter show dev cap0 ingress
  skep tc exec bpf dbg`,
		DisableFlagParsing: true,
		Args:               cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			o, a, err := iproute.Parse(args)
			if err != nil {
				return err
			}
			if o.Help {
				return cmd.Help()
			}
			return run(s, &o, a)
		},
	}
}

func run(s *ui.Streams, o *iproute.Options, a *iproute.Args) error {
	switch word := a.Next(); iproute.Verb(word, "qdisc", "filter", "exec", "help") {
	case "qdisc":
		return qdisc(s, o, a)
	case "filter":
		return filter(s, o, a)
	case "exec":
		return execute(s, o, a)
	case "help":
		return help(s)
	default:
		if word == "" {
			return ui.Usagef("what of: qdisc, filter or exec? See skep tc help")
		}
		return ui.Usagef("object %q is unknown: there are qdisc, filter and exec; see skep tc help", word)
	}
}

func help(s *ui.Streams) error {
	_, err := fmt.Fprint(s.Out, usage)
	return err
}

// none is for requests without a reply.
func none(struct{}) error { return nil }

// qdisc carries out tc qdisc.
func qdisc(s *ui.Streams, o *iproute.Options, a *iproute.Args) error {
	word := a.Next()
	verb := iproute.Verb(word, "add", "change", "replace", "delete", "show", "list", "lst", "help")
	if word == "ls" || word == "" {
		verb = "show"
	}
	var q rtnl.QdiscChange
	for a.More() {
		var err error
		switch w := a.Next(); w {
		case "dev":
			q.Dev, err = a.Value(w)
		case "clsact", "ingress":
			q.Kind = w
		case "handle", "parent": // of a clsact qdisc they are always the same
			_, err = a.Value(w)
		default:
			if verb == "show" {
				return ui.Usagef("%q is unknown: see skep tc help", w)
			}
			q.Kind = w
		}
		if err != nil {
			return err
		}
	}
	switch verb {
	case "help":
		return help(s)
	case "show", "list", "lst":
		return showQdiscs(s, o, q.Dev)
	case "add", "replace", "delete":
	default:
		return ui.Usagef("command %q is unknown: see skep tc help", word)
	}
	if q.Dev == "" {
		return ui.Usagef("not enough information: dev NAME is required")
	}
	if verb == "delete" {
		return iproute.Ask(o, rtnl.VerbQdiscDel, q, nil, none)
	}
	q.Replace = verb == "replace"
	if q.Kind == "" {
		return ui.Usagef("which qdisc: clsact or ingress?")
	}
	return iproute.Ask(o, rtnl.VerbQdiscAdd, q, nil, none)
}

// showQdiscs lists them, a device's own before that for filters.
func showQdiscs(s *ui.Streams, o *iproute.Options, dev string) error {
	var text strings.Builder
	w := iproute.NewJSON(o.Pretty)
	err := iproute.Ask(o, rtnl.VerbQdiscs, rtnl.Named{Name: dev}, nil, func(q rtnl.Qdisc) error {
		root := q.Kind == "noqueue"
		if o.JSON {
			w.Object()
			w.Name("kind").String(q.Kind)
			if root {
				w.Name("handle").String("0:")
			} else {
				w.Name("handle").String("ffff:")
			}
			if dev == "" {
				w.Name("dev").String(q.Dev)
			}
			if root {
				w.Name("root").Bool(true).Name("refcnt").Uint(2)
			} else {
				w.Name("parent").String("ffff:fff1")
			}
			w.Name("options").Object().End()
			if o.Stats > 0 {
				w.Name("bytes").Uint(q.Bytes).Name("packets").Uint(q.Packets).Name("drops").Uint(q.Drops)
				for _, name := range []string{"overlimits", "requeues", "backlog", "qlen"} {
					w.Name(name).Uint(0)
				}
			}
			w.End()
			return nil
		}
		on := ""
		if dev == "" {
			on = "dev " + q.Dev + " "
		}
		if root {
			fmt.Fprintf(&text, "qdisc noqueue 0: %sroot refcnt 2 \n", on)
		} else {
			tail := ""
			if q.Kind == "ingress" {
				tail = "---------------- "
			}
			fmt.Fprintf(&text, "qdisc %s ffff: %sparent ffff:fff1 %s\n", q.Kind, on, tail)
		}
		if o.Stats > 0 {
			fmt.Fprintf(&text, " Sent %d bytes %d pkt (dropped %d, overlimits 0 requeues 0) \n backlog 0b 0p requeues 0\n", q.Bytes, q.Packets, q.Drops)
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
