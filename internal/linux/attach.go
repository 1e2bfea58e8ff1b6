package linux

import (
	"slices"
	"strings"

	"github.com/cilium/ebpf/btf"

	"github.com/skep-bpf/skep/internal/catalog"
)

// attachPrefixes are what the names of types have in front that programs attach
// to by BTF id: the functions of iterators and LSM hooks, tracepoints' types.
var attachPrefixes = map[catalog.AttachType]string{
	catalog.AttachTraceRawTp: "btf_trace_", catalog.AttachTraceIter: "bpf_iter_",
	catalog.AttachLSMMAC: "bpf_lsm_", catalog.AttachLSMCGroup: "bpf_lsm_",
}

// AttachTo fills in what a program that is to attach to the named function,
// hook, tracepoint or "struct:member" is loaded with: the type's id in the
// kernel's BTF, 0 if it has none, and for members the expected attach type.
func (p *Prog) AttachTo(kernel *btf.Spec, name string) {
	if p.Type == catalog.ProgStructOps {
		p.attachToMember(kernel, name)
		return
	}
	if p.Type != catalog.ProgTracing && p.Type != catalog.ProgLSM {
		return
	}
	types, _ := kernel.AnyTypesByName(attachPrefixes[p.Attach] + name)
	for _, t := range types {
		switch t.(type) {
		case *btf.Func, *btf.Typedef:
			id, _ := kernel.TypeID(t)
			p.AttachBTFID = uint32(id)
			return
		}
	}
}

func (p *Prog) attachToMember(kernel *btf.Spec, name string) {
	name, member, named := strings.Cut(name, ":")
	var s *btf.Struct
	if kernel.TypeByName(name, &s) != nil {
		return
	}
	id, _ := kernel.TypeID(s)
	p.AttachBTFID = uint32(id)
	if i := slices.IndexFunc(s.Members, func(m btf.Member) bool { return m.Name == member }); named && i >= 0 {
		p.Attach = catalog.AttachType(i)
	}
}
