package objects

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net"

	"github.com/skep-bpf/skep/internal/linux"
	"github.com/skep-bpf/skep/internal/rtnl"
	"github.com/skep-bpf/skep/internal/serve"
)

// Interface takes the name of a network device of the system's and returns its index.
func (v *Verb) Interface() (uint32, error) {
	name, err := v.Next("the name of a device")
	if err != nil {
		return 0, err
	}
	if v.Live {
		dev, err := net.InterfaceByName(name)
		if err != nil {
			return 0, fmt.Errorf("device %s: %w", name, err)
		}
		return uint32(dev.Index), nil
	}
	all, err := v.links()
	if err != nil {
		return 0, fmt.Errorf("device %s: %w", name, err)
	}
	for _, l := range all {
		if l.Name == name {
			return l.Index, nil
		}
	}
	return 0, fmt.Errorf("device %s: the machine has none of that name: see skep ip link show", name)
}

// links are the devices of a machine.
func (v *Verb) links() (all []rtnl.Link, err error) {
	machine := cmp.Or(v.Machine, serve.MachineFromEnv())
	if machine == "" { // one for this command alone
		return []rtnl.Link{{Index: 1, Name: "lo"}}, nil
	}
	err = serve.Ask(context.Background(), machine, rtnl.VerbLinkList, rtnl.Named{}, nil, func(raw json.RawMessage) error {
		l, err := rtnl.Decode[rtnl.Link](raw)
		all = append(all, l)
		return err
	})
	return all, err
}

// interfaceName is the name of the system's device with an index, "" if there is none.
func (v *Verb) interfaceName(index uint32) string {
	if v.Live {
		if dev, err := net.InterfaceByIndex(int(index)); err == nil {
			return dev.Name
		}
		return ""
	}
	all, _ := v.links()
	for _, l := range all {
		if l.Index == index {
			return l.Name
		}
	}
	return ""
}

// Device shows the network device an object was made for.
func (v *Verb) Device(d linux.Device) {
	if d.IfIndex == 0 {
		return
	}
	name := v.interfaceName(d.IfIndex)
	switch {
	case v.J != nil:
		v.J.Name("dev")
		v.J.Object()
		v.J.Field("ifindex", d.IfIndex)
		v.J.Field("ns_dev", d.NetNSDev)
		v.J.Field("ns_inode", d.NetNSIno)
		if name != "" {
			v.J.Field("ifname", name)
		}
		v.J.EndObject()
	case name != "":
		v.Printf("  offloaded_to %s", name)
	default:
		v.Printf("  offloaded_to ifindex %d ns_dev %d ns_ino %d", d.IfIndex, d.NetNSDev, d.NetNSIno)
	}
}
