// Package bpfnet is skep net: programs on network devices, with bpftool's grammar
// and output.
package bpfnet

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"

	"github.com/spf13/cobra"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/cli/objects"
	"github.com/skep-bpf/skep/internal/cli/ui"
	"github.com/skep-bpf/skep/internal/linux"
	"github.com/skep-bpf/skep/internal/rtnl"
	"github.com/skep-bpf/skep/internal/serve"
)

// NewCmd returns the command.
func NewCmd(s *ui.Streams) *cobra.Command {
	var o objects.Options
	return o.Noun(s, &cobra.Command{
		Use:   "net COMMAND",
		Short: "Show, attach and detach programs of network devices, as bpftool does",
		Long: `Shows the programs on network devices, XDP and tc, and attaches XDP and tcx programs,
with bpftool's grammar and output: those of a machine that skep serve keeps (--machine,
SKEP_MACHINE), whose devices skep ip makes, or of the kernel (--engine linux).

  PROG        := { id N | tag TAG | name NAME | pinned FILE }
  ATTACH_TYPE := { xdp | xdpgeneric | xdpdrv | xdpoffload | tcx_ingress | tcx_egress }`,
		Example: `  skep net show --machine /tmp/machine
  sudo skep net attach xdp pinned /sys/fs/bpf/fw dev eth0 --engine linux
  sudo skep net show dev eth0 --engine linux -j`,
	}, "show list attach detach help", []objects.VerbRow{
		{Use: "show [dev NAME]", Aliases: []string{"list"}, Short: "Show what is on network devices", Do: show},
		{Use: "attach ATTACH_TYPE PROG dev NAME [overwrite|prepend]", Short: "Attach a program to a device: XDP in another's place (overwrite), tcx behind the others or before them (prepend)", Do: attach},
		{Use: "detach ATTACH_TYPE dev NAME", Short: "Take an XDP program, or the last tcx program, off a device", Do: detach},
	})
}

// Modes of XDP, by the bit of XDP_FLAGS_* that asks for them.
var modes = []struct {
	name string
	flag uint32
}{{"xdp", 0}, {"xdpgeneric", 1 << 1}, {"xdpdrv", 1 << 2}, {"xdpoffload", 1 << 3}}

// ifNoExist refuses to replace (XDP_FLAGS_UPDATE_IF_NOEXIST).
const ifNoExist = 1 << 0

// xdpOn is an XDP program on a device; mode is driver, generic or offload.
type xdpOn struct {
	mode string
	id   uint32
}

// device is one with its XDP programs.
type device struct {
	name  string
	index int
	xdp   []xdpOn
	multi bool // it can have one of each mode
}

// filter is a program of tc on a device.
type filter struct {
	kind    string // clsact/ingress, tcx/egress
	name    string
	id      uint32
	link    uint32 // tcx: the link that attached it
	mprog   bool   // tcx or netkit
	actions []action
}

type action struct {
	name string
	id   uint32
}

// source is who knows what is on devices.
type source interface {
	devices() ([]device, error)
	filters(d device) ([]filter, error)
	attach(v *objects.Verb, mode string, prog *linux.Object, dev string, overwrite bool) error
	detach(mode, dev string) error
	dissector() (uint32, error)
}

func open(v *objects.Verb) (source, error) {
	if v.Live {
		return newKernel()
	}
	return machine(v.Machine), nil
}

// deviceName takes dev NAME.
func deviceName(v *objects.Verb) (string, error) {
	if !v.Take("dev") {
		return "", ui.Usagef("%q: dev NAME is expected", v.Peek())
	}
	return v.Next("the name of a device")
}

func show(v *objects.Verb) error {
	only := ""
	if v.Len() > 0 {
		var err error
		if only, err = deviceName(v); err != nil {
			return err
		}
	}
	if err := v.End(); err != nil {
		return err
	}
	src, err := open(v)
	if err != nil {
		return err
	}
	all, err := src.devices()
	if err != nil {
		return err
	}
	var devices []device
	for _, d := range all {
		if only == "" || d.name == only {
			devices = append(devices, d)
		}
	}
	if only != "" && devices == nil {
		return fmt.Errorf("there is no device %s", only)
	}
	dissector, err := src.dissector()
	if err != nil {
		return err
	}
	if v.J != nil {
		v.J.Array()
		defer v.J.EndArray()
		v.J.Object()
		defer v.J.EndObject()
	}
	section(v, "xdp", func() error {
		for _, d := range devices {
			showXDP(v, d)
		}
		return nil
	})
	err = section(v, "tc", func() error {
		for _, d := range devices {
			filters, err := src.filters(d)
			if err != nil {
				return fmt.Errorf("%s: %w", d.name, err)
			}
			for _, f := range filters {
				showFilter(v, d, f)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	return section(v, "flow_dissector", func() error {
		switch {
		case dissector == 0:
		case v.J != nil:
			v.J.Raw("%d", dissector)
		default:
			v.Printf("id %d", dissector)
		}
		return nil
	})
}

// section writes a list under a name.
func section(v *objects.Verb, name string, body func() error) error {
	if v.J != nil {
		v.J.Name(name)
		v.J.Array()
		defer v.J.EndArray()
		return body()
	}
	v.Printf("%s:\n", name)
	err := body()
	v.Printf("\n")
	return err
}

func showXDP(v *objects.Verb, d device) {
	if len(d.xdp) == 0 {
		return
	}
	if v.J == nil {
		v.Printf("%s(%d)", ui.Printable(d.name), d.index)
		for _, x := range d.xdp {
			v.Printf(" %s id %d", x.mode, x.id)
		}
		v.Printf("\n")
		return
	}
	v.J.Object()
	defer v.J.EndObject()
	v.J.Field("devname", d.name)
	v.J.Field("ifindex", d.index)
	if d.multi {
		v.J.Name("multi_attachments")
		v.J.Array()
		defer v.J.EndArray()
	}
	for _, x := range d.xdp {
		if d.multi {
			v.J.Object()
		}
		v.J.Field("mode", x.mode)
		v.J.Field("id", x.id)
		if d.multi {
			v.J.EndObject()
		}
	}
}

func showFilter(v *objects.Verb, d device, f filter) {
	id := "id"
	if f.mprog {
		id = "prog_id"
	}
	if v.J == nil {
		v.Printf("%s(%d) %s", ui.Printable(d.name), d.index, f.kind)
		if f.name != "" {
			v.Printf(" %s", ui.Printable(f.name))
		}
		if f.id != 0 {
			v.Printf(" %s %d", id, f.id)
		}
		if f.link != 0 {
			v.Printf(" link_id %d", f.link)
		}
		if f.actions != nil {
			v.Printf(" act [")
			for _, a := range f.actions {
				v.Printf("{%s id %d}", ui.Printable(a.name), a.id)
			}
			v.Printf("] ")
		}
		v.Printf("\n")
		return
	}
	v.J.Object()
	defer v.J.EndObject()
	v.J.Field("devname", d.name)
	v.J.Field("ifindex", d.index)
	v.J.Field("kind", f.kind)
	if f.name != "" {
		v.J.Field("name", f.name)
	}
	if f.id != 0 {
		v.J.Field(id, f.id)
	}
	if f.link != 0 {
		v.J.Field("link_id", f.link)
	}
	if f.actions != nil {
		v.J.Name("act")
		v.J.Array()
		for _, a := range f.actions {
			v.J.Object()
			v.J.Field("name", a.name)
			v.J.Field("id", a.id)
			v.J.EndObject()
		}
		v.J.EndArray()
	}
}

// tcxPlaces are the attach types of tcx.
var tcxPlaces = []struct {
	name string
	typ  catalog.AttachType
}{{"tcx_ingress", catalog.AttachTCXIngress}, {"tcx_egress", catalog.AttachTCXEgress}}

// place takes an ATTACH_TYPE: a mode of XDP, or a place of tcx.
func place(v *objects.Verb) (mode string, tcx catalog.AttachType, err error) {
	for _, m := range modes {
		if v.Take(m.name) {
			return m.name, 0, nil
		}
	}
	for _, p := range tcxPlaces {
		if v.Take(p.name) {
			return "", p.typ, nil
		}
	}
	return "", 0, ui.Usagef("%q: there are xdp, xdpgeneric, xdpdrv, xdpoffload, tcx_ingress and tcx_egress", v.Peek())
}

func attach(v *objects.Verb) error {
	mode, tcx, err := place(v)
	if err != nil {
		return err
	}
	p, err := v.Prog()
	if err != nil {
		return err
	}
	defer p.Close()
	dev, err := deviceName(v)
	if err != nil {
		return err
	}
	overwrite := mode != "" && v.Take("overwrite")
	prepend := mode == "" && v.Take("prepend")
	if err := v.End(); err != nil {
		return err
	}
	src, err := open(v)
	if err != nil {
		return err
	}
	if mode != "" {
		err = src.attach(v, mode, p, dev, overwrite)
	} else {
		err = attachTCX(src, p, tcx, dev, prepend)
	}
	if err != nil {
		return err
	}
	return v.Done()
}

// before has a program come before all others at its place (BPF_F_BEFORE).
const before = 1 << 3

func attachTCX(src source, p *linux.Object, tcx catalog.AttachType, dev string, prepend bool) error {
	index, err := indexOf(src, dev)
	if err != nil {
		return err
	}
	flags := uint32(0)
	if prepend {
		flags = before
	}
	return linux.ProgAttach(p.FD(), index, tcx, flags)
}

// indexOf is the number of a device by its name.
func indexOf(src source, name string) (int, error) {
	all, err := src.devices()
	if err != nil {
		return 0, err
	}
	for _, d := range all {
		if d.name == name {
			return d.index, nil
		}
	}
	return 0, fmt.Errorf("there is no device %s", name)
}

func detach(v *objects.Verb) error {
	mode, tcx, err := place(v)
	if err != nil {
		return err
	}
	dev, err := deviceName(v)
	if err != nil {
		return err
	}
	if err := v.End(); err != nil {
		return err
	}
	src, err := open(v)
	if err != nil {
		return err
	}
	if mode != "" {
		err = src.detach(mode, dev)
	} else if index, ierr := indexOf(src, dev); ierr != nil {
		err = ierr
	} else {
		err = linux.ProgDetach(0, index, tcx) // no program is named: the last one
	}
	if err != nil {
		return err
	}
	return v.Done()
}

// machine is one that skep serve keeps at a socket.
type machine string

func (m machine) ask(verb string, args any, each func(json.RawMessage) error) error {
	return serve.Ask(context.Background(), string(m), verb, args, nil, each)
}

func (m machine) links() (all []rtnl.Link, err error) {
	err = m.ask(rtnl.VerbLinkList, rtnl.Named{}, func(raw json.RawMessage) error {
		l, err := rtnl.Decode[rtnl.Link](raw)
		all = append(all, l)
		return err
	})
	return all, err
}

func (m machine) devices() ([]device, error) {
	links, err := m.links()
	var all []device
	for _, l := range links {
		d := device{name: l.Name, index: int(l.Index)}
		if l.XDP != nil {
			mode := map[string]string{"xdp": "driver", "xdpgeneric": "generic", "xdpoffload": "offload"}[l.XDPMode]
			d.xdp = append(d.xdp, xdpOn{mode, l.XDP.ID})
		}
		all = append(all, d)
	}
	return all, err
}

func (m machine) filters(d device) (all []filter, err error) {
	links, err := m.links()
	if err != nil {
		return nil, err
	}
	for _, l := range links {
		if l.Name != d.name {
			continue
		}
		for _, chain := range []struct {
			kind  string
			progs []rtnl.Prog
		}{
			{"tcx/ingress", l.TCX[rtnl.Ingress]}, {"tcx/egress", l.TCX[rtnl.Egress]},
			{"netkit/primary", l.Netkit["primary"]}, {"netkit/peer", l.Netkit["peer"]},
		} {
			for _, p := range chain.progs {
				all = append(all, filter{kind: chain.kind, name: p.Name, id: p.ID, link: p.Link, mprog: true})
			}
		}
	}
	for _, hook := range []string{rtnl.Ingress, rtnl.Egress} {
		err := m.ask(rtnl.VerbFilters, rtnl.FilterQuery{Dev: d.name, Hook: hook}, func(raw json.RawMessage) error {
			f, err := rtnl.Decode[rtnl.Filter](raw)
			if err != nil {
				return err
			}
			one := filter{kind: "clsact/" + hook, name: f.Name, id: f.Prog.ID}
			for _, a := range f.Actions {
				if a.Prog != nil {
					one.actions = append(one.actions, action{a.Name, a.Prog.ID})
				}
			}
			all = append(all, one)
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return all, nil
}

// attach names the program for as long as it takes to attach it: devices are
// asked by names.
func (m machine) attach(v *objects.Verb, mode string, prog *linux.Object, dev string, overwrite bool) error {
	info, err := prog.Prog()
	if err != nil {
		return err
	}
	if info.Type != catalog.ProgXDP {
		return fmt.Errorf("program %d is a %s program: xdp is wanted", info.ID, objects.ProgType(info.Type))
	}
	path := fmt.Sprintf("/sys/fs/bpf/skep_net_%08x", rand.Uint32())
	if err := v.PinAt(prog.FD(), path); err != nil {
		return err
	}
	defer os.Remove(path)
	return m.ask(rtnl.VerbLinkSet, rtnl.LinkSet{Name: dev, XDP: &rtnl.XDPChange{
		Mode: mode, Force: overwrite, Object: rtnl.Object{Pinned: path},
	}}, func(json.RawMessage) error { return nil })
}

func (m machine) detach(mode, dev string) error {
	return m.ask(rtnl.VerbLinkSet, rtnl.LinkSet{Name: dev, XDP: &rtnl.XDPChange{Mode: mode, Off: true}}, func(json.RawMessage) error { return nil })
}

// dissector: packets of a machine are dissected by its own code alone.
func (m machine) dissector() (uint32, error) { return 0, nil }
