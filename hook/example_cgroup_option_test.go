package hook_test

import (
	"encoding/binary"
	"fmt"
	"log"

	"github.com/skep-bpf/skep"
	"github.com/skep-bpf/skep/hook"
	"github.com/skep-bpf/skep/image"
	"github.com/skep-bpf/skep/isa"
)

// Who asks for any congestion control gets cubic: SEC("cgroup/setsockopt").
func ExampleCgroupSocket_SetOption() {
	const solTCP, tcpNoDelay, tcpCongestion = 6, 1, 13
	insns, err := isa.Assemble("cubic", `
		r6 = r1
		r0 = 1
		r2 = *(u32 *)(r6 + 24)      // level
		if r2 != 6 goto out
		r2 = *(u32 *)(r6 + 28)      // optname
		if r2 != 13 goto out
		r2 = *(u64 *)(r6 + 8)       // optval
		r3 = *(u64 *)(r6 + 16)      // optval_end
		r4 = r2
		r4 += 8
		if r4 > r3 goto out
		r4 = 0x6369627563 ll        // "cubic"
		*(u64 *)(r2 + 0) = r4
		r2 = 5
		*(u32 *)(r6 + 32) = r2      // optlen
		out: exit`, isa.Symbols{})
	if err != nil {
		log.Fatal(err)
	}
	m, err := skep.NewMachine(nil)
	if err != nil {
		log.Fatal(err)
	}
	defer m.Close()
	coll, err := m.LoadCollection(&image.Image{Name: "options", ByteOrder: binary.NativeEndian, License: "GPL", Programs: []*image.Program{
		{Name: "cubic", Type: skep.CGroupSockopt, Attach: skep.AttachCGroupSetsockopt, Insns: insns}}})
	if err != nil {
		log.Fatal(err)
	}
	defer coll.Close()

	g := hook.NewCgroup(m, nil)
	if err := g.Attach(coll.Programs["cubic"], skep.AttachCGroupSetsockopt, 0); err != nil {
		log.Fatal(err)
	}
	s, err := g.Socket("tcp4")
	if err != nil {
		log.Fatal(err)
	}
	defer s.Close()
	for _, o := range []skep.CgroupSockopt{
		{Level: solTCP, Name: tcpCongestion, Value: []byte("nv")},
		{Level: solTCP, Name: tcpNoDelay, Value: []byte{1, 0, 0, 0}},
	} {
		if err := s.SetOption(&o); err != nil {
			log.Fatal(err)
		}
		fmt.Printf("level %d, option %d: %q\n", o.Level, o.Name, o.Value)
	}
	// Output:
	// level 6, option 13: "cubic"
	// level 6, option 1: "\x01\x00\x00\x00"
}
