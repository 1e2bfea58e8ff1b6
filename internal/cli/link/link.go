// Package link is skep link: links of a machine or of the kernel, with bpftool's
// grammar and output.
package link

import (
	"encoding/binary"
	"fmt"
	"net"

	"github.com/spf13/cobra"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/cli/objects"
	"github.com/skep-bpf/skep/internal/cli/ui"
	"github.com/skep-bpf/skep/internal/linux"
)

// NewCmd returns the command.
func NewCmd(s *ui.Streams) *cobra.Command {
	var o objects.Options
	return o.Noun(s, &cobra.Command{
		Use:   "link COMMAND",
		Short: "Show, pin and detach links of a machine or the kernel, as bpftool does",
		Long: `Shows, pins and detaches links, with bpftool's grammar and output: those of a
machine that skep serve keeps (--machine, SKEP_MACHINE), or of the kernel
(--engine linux).

  LINK := { id N | pinned FILE }`,
		Example: `  skep link show --machine /tmp/machine
  sudo skep link show --engine linux -j`,
	}, "show list help pin detach", []objects.VerbRow{
		{Use: "show [LINK]", Aliases: []string{"list"}, Short: "Show links: what is attached where", Do: show},
		{Use: "pin LINK FILE", Short: "Give a link a name in a BPF file system", Do: pin},
		{Use: "detach LINK", Short: "Take a link's program away from its place; the link stays", Do: detach},
	})
}

// details show what depends on a link's type, by its number in enum bpf_link_type.
var details = map[uint32]func(*shower) error{
	1:  (*shower).rawTracepoint,
	2:  (*shower).tracing,
	3:  func(w *shower) error { w.line(); w.field("cgroup_id", w.u64(0)); w.attachType(8); return nil },
	4:  (*shower).iter,
	5:  func(w *shower) error { w.line(); w.field("netns_ino", w.u32(0)); w.attachType(4); return nil },
	6:  func(w *shower) error { w.line(); w.device(0); return nil },
	9:  func(w *shower) error { w.line(); w.field("map_id", w.u32(0)); return nil },
	10: (*shower).netfilter,
	11: func(w *shower) error { w.line(); w.device(0); w.attachType(4); return nil },
	13: func(w *shower) error { w.line(); w.device(0); w.attachType(4); return nil },
	14: func(w *shower) error { w.line(); w.field("map_id", w.u32(0)); w.attachType(4); return nil },
}

// shower shows one link.
type shower struct {
	*objects.Verb
	*linux.LinkInfo
}

func (w *shower) u32(off int) uint32 { return binary.NativeEndian.Uint32(w.Rest[off:]) }
func (w *shower) u64(off int) uint64 { return binary.NativeEndian.Uint64(w.Rest[off:]) }

// line begins a line of details.
func (w *shower) line() {
	if w.J == nil {
		w.Printf("\n\t")
	}
}

func (w *shower) field(name string, value any) {
	if w.J != nil {
		w.J.Field(name, value)
		return
	}
	if s, ok := value.(string); ok {
		value = ui.Printable(s)
	}
	w.Printf("%s %v  ", name, value)
}

// device shows a network device by name and number.
func (w *shower) device(off int) {
	index := w.u32(off)
	dev, err := net.InterfaceByIndex(int(index))
	switch {
	case w.J != nil:
		if err == nil {
			w.J.Field("devname", dev.Name)
		}
		w.J.Field("ifindex", index)
	case index == 0:
		w.Printf("ifindex (detached)  ")
	case err == nil:
		w.Printf("ifindex %s(%d)  ", ui.Printable(dev.Name), index)
	default:
		w.Printf("ifindex %d  ", index)
	}
}

func (w *shower) attachType(off int) {
	t := catalog.AttachType(w.u32(off))
	if name := t.String(); name != "unknown" {
		w.field("attach_type", name)
	} else {
		w.field("attach_type", uint32(t))
	}
}

func (w *shower) rawTracepoint() error {
	if w.J != nil {
		w.J.Field("tp_name", w.Name)
	} else {
		w.Printf("\n\ttp '%s'  ", ui.Printable(w.Name))
	}
	return nil
}

// netfilterHooks are bpftool's names of the hooks.
var netfilterHooks = [...]string{"prerouting", "input", "forward", "output", "postrouting"}

func (w *shower) netfilter() error {
	pf, hook, prio, flags := w.u32(0), w.u32(4), int32(w.u32(8)), w.u32(12)
	if w.J != nil {
		w.J.Field("pf", pf)
		w.J.Field("hook", hook)
		w.J.Field("prio", prio)
		w.J.Field("flags", flags)
		return nil
	}
	switch pf {
	case catalog.NFProtoIPv4:
		w.Printf("\n\tip")
	case catalog.NFProtoIPv6:
		w.Printf("\n\tip6")
	default:
		w.Printf("\n\tpf: %d", pf)
	}
	if hook < uint32(len(netfilterHooks)) {
		w.Printf(" %s", netfilterHooks[hook])
	} else {
		w.Printf(", hook %d,", hook)
	}
	w.Printf(" prio %d", prio)
	if flags != 0 {
		w.Printf(" flags %#x", flags)
	}
	return nil
}

func (w *shower) tracing() error {
	o, err := linux.OpenID(linux.KindProg, w.ProgID)
	if err != nil {
		return fmt.Errorf("program %d: %w", w.ProgID, err)
	}
	defer o.Close()
	p, err := o.Prog()
	if err != nil {
		return err
	}
	w.line()
	if name := objects.ProgType(p.Type); name != "" {
		w.field("prog_type", name)
	} else {
		w.field("prog_type", uint32(p.Type))
	}
	w.attachType(0)
	return nil
}

// orders are those of enum bpf_cgroup_iter_order.
var orders = [...]string{"order_unspec", "self_only", "descendants_pre", "descendants_post", "ancestors_up"}

func (w *shower) iter() error {
	w.field("target_name", w.Name)
	switch w.Name {
	case "bpf_map_elem", "bpf_sk_storage_map":
		w.field("map_id", w.u32(12))
	case "task", "task_file", "task_vma":
		for i, name := range []string{"tid", "pid"} {
			id := w.u32(16 + 4*i)
			if id == 0 {
				continue
			}
			if w.J != nil {
				w.J.Field(name, id)
			} else {
				w.Printf("%s %d ", name, id)
			}
			break
		}
	case "cgroup":
		w.field("cgroup_id", w.u64(16))
		order := "unknown"
		if n := w.u32(24); n < uint32(len(orders)) {
			order = orders[n]
		}
		w.field("order", order)
	}
	return nil
}

func show(v *objects.Verb) error {
	return v.Show(linux.KindLink, func() ([]*linux.Object, error) {
		o, err := v.Link()
		return []*linux.Object{o}, err
	}, showOne)
}

func showOne(v *objects.Verb, o *linux.Object, pins objects.Names) error {
	info, err := o.Link()
	if err != nil {
		return err
	}
	w := &shower{v, info}
	name := objects.LinkType(info.Type)
	if v.J != nil {
		v.J.Object()
		defer v.J.EndObject()
		v.J.Field("id", info.ID)
		if name != "" {
			v.J.Field("type", name)
		} else {
			v.J.Field("type", info.Type)
		}
		v.J.Field("prog_id", info.ProgID)
	} else {
		if name == "" {
			name = fmt.Sprintf("type %d", info.Type)
		}
		v.Printf("%d: %s  prog %d  ", info.ID, name, info.ProgID)
	}
	if detail := details[info.Type]; detail != nil {
		if err := detail(w); err != nil {
			return err
		}
	}
	v.Pins(pins, info.ID)
	if v.J == nil {
		v.Printf("\n")
	}
	return nil
}

func pin(v *objects.Verb) error {
	o, err := v.Link()
	if err != nil {
		return err
	}
	return v.Pin(o)
}

func detach(v *objects.Verb) error {
	o, err := v.Link()
	if err != nil {
		return err
	}
	defer o.Close()
	if err := v.End(); err != nil {
		return err
	}
	if err := o.Detach(); err != nil {
		return err
	}
	return v.Done()
}
