package hook_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"log"
	"net/netip"

	"github.com/skep-bpf/skep"
	"github.com/skep-bpf/skep/hook"
	"github.com/skep-bpf/skep/image"
	"github.com/skep-bpf/skep/isa"
)

// Nobody connects to port 25, and in one group who connects to port 80 gets to a proxy on port 8080.
// The programs are SEC("cgroup/connect4"), which an object file has ready.
func ExampleCgroup() {
	const at = skep.AttachCGroupInet4Connect
	rules := &image.Image{Name: "rules", ByteOrder: binary.NativeEndian, License: "GPL"}
	for name, text := range map[string]string{
		"no_mail": `
			r0 = 0
			r1 = *(u32 *)(r1 + 24)      // user_port, in network order
			if r1 == 0x1900 goto out
			r0 = 1
			out: exit`,
		"to_proxy": `
			r2 = *(u32 *)(r1 + 24)
			if r2 != 0x5000 goto out
			r2 = 0x0100007f             // 127.0.0.1
			*(u32 *)(r1 + 4) = r2       // user_ip4
			r2 = 0x901f
			*(u32 *)(r1 + 24) = r2
			out: r0 = 1
			exit`,
	} {
		insns, err := isa.Assemble(name, text, isa.Symbols{})
		if err != nil {
			log.Fatal(err)
		}
		rules.Programs = append(rules.Programs, &image.Program{Name: name, Type: skep.CGroupSockAddr, Attach: at, Insns: insns})
	}
	m, err := skep.NewMachine(nil)
	if err != nil {
		log.Fatal(err)
	}
	defer m.Close()
	coll, err := m.LoadCollection(rules)
	if err != nil {
		log.Fatal(err)
	}
	defer coll.Close()

	all := hook.NewCgroup(m, nil)
	web := hook.NewCgroup(m, all)
	err = errors.Join(
		all.Attach(coll.Programs["no_mail"], at, hook.CgroupAllowMulti),
		web.Attach(coll.Programs["to_proxy"], at, hook.CgroupAllowMulti))
	if err != nil {
		log.Fatal(err)
	}
	for _, port := range []uint16{80, 443, 25} {
		s, err := web.Socket("tcp4")
		if err != nil {
			log.Fatal(err)
		}
		to, err := s.Connect(netip.AddrPortFrom(netip.MustParseAddr("192.0.2.1"), port))
		if err != nil {
			fmt.Println(err)
		} else {
			fmt.Println(to)
		}
		s.Close()
	}
	// Output:
	// 127.0.0.1:8080
	// 192.0.2.1:443
	// cgroup_inet4_connect: refused by a program: operation not permitted
}
