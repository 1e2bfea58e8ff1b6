// Package ip is skep ip: the network devices of a served machine, in the manner
// of iproute2's ip.
package ip

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/skep-bpf/skep/internal/cli/iproute"
	"github.com/skep-bpf/skep/internal/cli/ui"
	"github.com/skep-bpf/skep/internal/rtnl"
)

const usage = `Usage: skep ip [ OPTIONS ] link add [ name ] NAME [ index N ] [ mtu MTU ] [ address LLADDR ] type TYPE
       skep ip [ OPTIONS ] link delete [ dev ] NAME
       skep ip [ OPTIONS ] link set [ dev ] NAME [ up | down ] [ mtu MTU ] [ address LLADDR ] [ name NEW ]
              [ { xdp | xdpgeneric | xdpdrv | xdpoffload } { off |
                obj FILE [ { sec | prog } NAME ] [ verbose ] | pinned PATH } ]
       skep ip [ OPTIONS ] link show [ [ dev ] NAME ]

TYPE := veth [ peer [ name ] NAME [ address LLADDR ] ]
        netkit [ POLICY ] [ peer [ name ] NAME [ POLICY ] ]   POLICY := forward | blackhole
        pcap [ in FILE ] [ out FILE ]
        tap [ dev HOSTNAME ] [ queues N ]
        packet dev HOSTNAME [ rw ]
        { vxlan | geneve } external dev NAME [ local ADDR ] [ dstport PORT ] [ gbp ] [ nexthop LLADDR ]

OPTIONS := -s[tatistics] -d[etails] -j[son] -p[retty] -o[neline] -br[ief] -force --machine PATH
`

// NewCmd returns the command.
func NewCmd(s *ui.Streams) *cobra.Command {
	return &cobra.Command{
		Use:   "ip [OPTIONS] link {add|del|set|show} ...",
		Short: "Make, change and list the network devices of a served machine",
		Long: `Makes, changes and lists the network devices of the machine that a skep serve keeps, in
the manner of iproute2's ip. XDP programs are attached as there.

` + strings.TrimSuffix(usage, "\n") + `

A veth or netkit pair is in user space. A pcap device receives the packets of one capture,
once it is up, and writes what is sent to another, which appears when the device is
deleted or the machine ends. A tap device is one of the host's; a packet device taps an interface
of the host, and with rw also sends. A vxlan or geneve device is a tunnel over another device: tc programs
set and read the keys of its packets, which are sent to nexthop, else to the other end of a pair. Offload mode is simulated. xdp and its like replace a
program with -force only.

The machine is the one at --machine PATH, or SKEP_MACHINE in the environment.`,
		Example: `  skep serve /tmp/machine &
  export SKEP_MACHINE=/tmp/machine
  skep ip link add em1 type veth peer name em2
  skep ip link add cap0 type pcap in examples/captures/web.pcap
  skep ip link set dev cap0 xdp obj examples/firewall/firewall.o sec xdp
  skep ip link set dev cap0 up
  skep ip -s link show dev cap0`,
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
	switch word := a.Next(); iproute.Verb(word, "link", "help") {
	case "link":
	case "help":
		_, err := fmt.Fprint(s.Out, usage)
		return err
	default:
		if word == "" {
			return ui.Usagef("what of: link? See skep ip help")
		}
		return ui.Usagef("object %q is unknown: there is link; see skep ip help", word)
	}
	word := a.Next()
	switch iproute.Verb(word, "add", "set", "show", "list", "lst", "delete", "help") {
	case "add":
		return add(o, a)
	case "delete":
		name, err := device(a)
		if err != nil {
			return err
		}
		return iproute.Ask(o, rtnl.VerbLinkDel, rtnl.Named{Name: name}, nil, func(struct{}) error { return nil })
	case "set":
		return set(s, o, a)
	case "show", "list", "lst":
		return show(s, o, a)
	case "help":
		_, err := fmt.Fprint(s.Out, usage)
		return err
	}
	if word == "" {
		return show(s, o, a)
	}
	if word == "ls" {
		return show(s, o, a)
	}
	return ui.Usagef("command %q is unknown: see skep ip help", word)
}

// device takes "[dev] NAME" at the end of a line.
func device(a *iproute.Args) (string, error) {
	a.Accept("dev")
	name, err := a.Value("dev")
	if err == nil && a.More() {
		err = ui.Usagef("%q is too much", a.Peek())
	}
	return name, err
}

// add reads the line of link add.
func add(o *iproute.Options, a *iproute.Args) error {
	var q rtnl.LinkAdd
	var err error
	for a.More() && err == nil && q.Kind == "" {
		switch word := a.Next(); word {
		case "name", "dev":
			q.Name, err = a.Value(word)
		case "index":
			var n uint64
			n, err = a.Number(word, 1<<31-1)
			q.Index = uint32(n)
		case "mtu":
			var n uint64
			n, err = a.Number(word, 65535)
			q.MTU = uint32(n)
		case "address":
			q.Address, err = a.Value(word)
		case "type":
			q.Kind, err = a.Value(word)
		default:
			if q.Name != "" {
				return ui.Usagef("%q is too much before type: see skep ip help", word)
			}
			if word == "" {
				return ui.Usagef("\"\" is not a valid device name")
			}
			q.Name = word
		}
	}
	if err != nil {
		return err
	}
	if q.Kind == "" {
		return ui.Usagef("type is missing: there are veth, netkit, pcap, tap, packet, vxlan and geneve")
	}
	if err := kind(a, &q); err != nil {
		return err
	}
	return iproute.Ask(o, rtnl.VerbLinkAdd, q, nil, func(struct{}) error { return nil })
}

// kind reads what follows a type.
func kind(a *iproute.Args, q *rtnl.LinkAdd) error {
	wrong := func(word string) error {
		return ui.Usagef("type %s: %q is unknown: see skep ip help", q.Kind, word)
	}
	peer, external := false, false
	tunnel := q.Kind == rtnl.KindVXLAN || q.Kind == rtnl.KindGeneve
	var err error
	for a.More() && err == nil {
		word := a.Next()
		switch {
		case (q.Kind == rtnl.KindVeth || q.Kind == rtnl.KindNetkit) && word == "peer":
			peer = true
			if a.Accept("name"); a.More() && a.Peek() != "address" {
				q.Peer = a.Next()
			}
		case q.Kind == rtnl.KindVeth && peer && word == "address":
			q.PeerAddress, err = a.Value(word)
		case q.Kind == rtnl.KindNetkit && (word == "forward" || word == "blackhole"):
			if peer {
				q.PeerPolicy = word
			} else {
				q.Policy = word
			}
		case q.Kind == rtnl.KindPcap && (word == "in" || word == "out"):
			var path string
			if path, err = a.Value(word); err != nil {
				return err
			}
			if path, err = filepath.Abs(path); word == "in" {
				q.In = path
			} else {
				q.Out = path
			}
		case (q.Kind == rtnl.KindTAP || q.Kind == rtnl.KindPacket) && word == "dev":
			q.Host, err = a.Value(word)
		case q.Kind == rtnl.KindTAP && word == "queues":
			var n uint64
			n, err = a.Number(word, 256)
			q.Queues = int(n)
		case q.Kind == rtnl.KindPacket && (word == "rw" || word == "ro"):
			q.Write = word == "rw"
		case tunnel && word == "external":
			external = true
		case tunnel && word == "dev":
			q.Tunnel.Under, err = a.Value(word)
		case tunnel && word == "local":
			q.Tunnel.Local, err = a.Value(word)
		case tunnel && word == "nexthop":
			q.Tunnel.NextHop, err = a.Value(word)
		case tunnel && word == "dstport":
			var n uint64
			n, err = a.Number(word, 65535)
			q.Tunnel.Port = uint16(n)
		case q.Kind == rtnl.KindVXLAN && (word == "gbp" || word == "nogbp"):
			q.Tunnel.GBP = word == "gbp"
		default:
			return wrong(word)
		}
	}
	switch {
	case err != nil || !tunnel:
	case !external:
		return ui.Usagef("type %s: only external, where programs set the keys, is to be had here", q.Kind)
	case q.Tunnel.Under == "":
		return ui.Usagef("type %s: which device does it lie over? say dev NAME", q.Kind)
	}
	if err == nil && q.Kind == rtnl.KindPacket && q.Host == "" {
		return ui.Usagef("type packet: which interface of the host? say dev NAME")
	}
	return err
}

// set reads the line of link set.
func set(s *ui.Streams, o *iproute.Options, a *iproute.Args) error {
	var q rtnl.LinkSet
	var files []*os.File
	defer func() { iproute.Close(files) }()
	var err error
	for a.More() && err == nil {
		switch word := a.Next(); word {
		case "dev":
			q.Name, err = a.Value(word)
		case "up", "down":
			up := word == "up"
			q.Up = &up
		case "mtu":
			var n uint64
			n, err = a.Number(word, 65535)
			q.MTU = uint32(n)
		case "address":
			q.Address, err = a.Value(word)
		case "name":
			q.NewName, err = a.Value(word)
		case "xdp", "xdpgeneric", "xdpdrv", "xdpoffload":
			q.XDP = &rtnl.XDPChange{Mode: word, Force: o.Force}
			switch {
			case a.Accept("off", "none"):
				q.XDP.Off = true
			default:
				var ok bool
				if ok, err = iproute.Object(a, &q.XDP.Object, &files); err == nil && !ok {
					err = ui.Usagef("%s: what is %q? It takes off, obj FILE or pinned PATH", word, a.Peek())
				}
			}
		default:
			if q.Name != "" {
				return ui.Usagef("%q is unknown: see skep ip help", word)
			}
			q.Name = word
		}
	}
	if err != nil {
		return err
	}
	if q.Name == "" {
		return ui.Usagef(`not enough information: "dev" argument is required`)
	}
	return iproute.Ask(o, rtnl.VerbLinkSet, q, files, iproute.Log(s))
}
