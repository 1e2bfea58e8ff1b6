package link

import (
	"bufio"
	"bytes"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	kernel "github.com/cilium/ebpf/link"

	"github.com/skep-bpf/skep/internal/cli/objects"
	"github.com/skep-bpf/skep/internal/linux"
	"github.com/skep-bpf/skep/internal/oracle"
	"github.com/skep-bpf/skep/internal/oracle/netns"
)

// TestNetfilter shows a link to a hook of the live kernel's, in bpftool's words.
func TestNetfilter(t *testing.T) {
	oracle.Need(t, "bpf(2)", linux.Available())
	netns.Enter(t)
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{Type: ebpf.Netfilter, AttachType: ebpf.AttachNetfilter, License: "GPL",
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 1), asm.Return()}})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	l, err := kernel.AttachNetfilter(kernel.NetfilterOptions{Program: p, ProtocolFamily: kernel.NetfilterProtoIPv6, Hook: kernel.NetfilterInetLocalOut, Priority: -128})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	about, err := l.Info()
	if err != nil {
		t.Fatal(err)
	}
	o, err := linux.OpenID(linux.KindLink, uint32(about.ID))
	if err != nil {
		t.Fatal(err)
	}
	defer o.Close()
	info, err := o.Link()
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"\n\tip6 output prio -128", `{"pf":10,"hook":3,"prio":-128,"flags":0}`} {
		var out bytes.Buffer
		v := &objects.Verb{Options: &objects.Options{}, Out: bufio.NewWriter(&out)}
		if want[0] == '{' {
			v.J = objects.NewJSON(v.Out, false)
			v.J.Object()
		}
		if err := details[info.Type](&shower{v, info}); err != nil {
			t.Fatal(err)
		}
		if v.J != nil {
			v.J.EndObject()
		}
		v.Out.Flush()
		if got := out.String(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
