//go:build linux && (amd64 || arm64)

package rtnl

import (
	"context"
	"encoding/json"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/pin"
	"github.com/skep-bpf/skep/internal/serve"
)

// noNames is a BPF file system in which nothing is.
type noNames struct{}

func (noNames) Pin(string, pin.Object) errno.Errno   { return errno.EPERM }
func (noNames) Get(string) (pin.Object, errno.Errno) { return nil, errno.ENOENT }
func (noNames) Mkdir(string) error                   { return errno.EPERM }

// newServer is a server whose machine nobody else uses.
func newServer(t testing.TB) *Server {
	trace := serve.NewTracePipe()
	s := New(trace)
	sys, done, err := serve.NewSystem(serve.MachineOptions{Net: s.Net, Devices: s, Trace: trace}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Begin(sys, false); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.End(); err != nil {
			t.Error(err)
		}
		done()
	})
	return s
}

// FuzzRequests makes requests of texts, several in a row: none may panic, and each device of a
// pair that is there has a peer that is there.
func FuzzRequests(f *testing.F) {
	object, err := os.ReadFile("../cli/testdata/iproute/progs.o")
	if err != nil {
		f.Fatal(err)
	}
	file := f.TempDir() + "/progs.o"
	if err := os.WriteFile(file, object, 0o600); err != nil {
		f.Fatal(err)
	}
	seed := func(requests ...any) {
		var text strings.Builder
		for i := 0; i < len(requests); i += 2 {
			args, _ := json.Marshal(requests[i+1])
			text.WriteString(requests[i].(string) + " " + string(args) + "\n")
		}
		f.Add(text.String())
	}
	up := true
	pair := LinkAdd{Name: "a", Kind: KindVeth, Peer: "b"}
	p1 := Object{File: "/x/progs.o", Section: "p1", Verbose: true}
	seed(VerbLinkAdd, pair, VerbLinkSet, LinkSet{Name: "a", Up: &up, MTU: 1400, Address: "02:00:00:00:00:01", NewName: "c"}, VerbLinkList, Named{}, VerbLinkDel, Named{"c"})
	seed(VerbLinkAdd, LinkAdd{Kind: KindNetkit, Policy: "blackhole"}, VerbLinkSet, LinkSet{Name: "netkit0", XDP: &XDPChange{Mode: "xdpgeneric", Object: Object{File: "/x/progs.o", Section: "xdp"}}})
	seed(VerbLinkAdd, pair, VerbQdiscAdd, QdiscChange{Dev: "a", Kind: "clsact"}, VerbFilter, FilterChange{Op: "add", Dev: "a", Hook: Ingress, AnyProto: true, Kind: "bpf", Object: p1, ClassID: 1,
		Actions: []ActionSpec{{Kind: "mirred", Dev: "b", Mirror: true, Control: "pipe"}, {Kind: "gact", Control: "drop"}}}, VerbFilters, FilterQuery{"a", Ingress}, VerbQdiscs, Named{}, VerbQdiscDel, QdiscChange{Dev: "a"})
	seed(VerbLinkAdd, pair, VerbQdiscAdd, QdiscChange{Dev: "b", Kind: "ingress"}, VerbFilter, FilterChange{Op: "replace", Dev: "b", Hook: Egress, Protocol: 0x800, Priority: 7, Handle: 3, Kind: "bpf", Object: Object{Code: "1,6 0 0 1"}, Direct: true},
		VerbFilter, FilterChange{Op: "del", Dev: "b", Hook: Egress, AnyProto: true, Priority: 7, Handle: 3, Kind: "bpf"})
	seed(VerbGraft, Graft{Map: "m:globals/jmp", Object: p1})
	f.Fuzz(func(t *testing.T, text string) {
		if len(text) > 1<<14 {
			return
		}
		s := newServer(t)
		verbs := s.Verbs()
		for _, line := range strings.SplitN(text, "\n", 16) {
			name, args, _ := strings.Cut(line, " ")
			verb := verbs[name]
			var add LinkAdd
			json.Unmarshal([]byte(args), &add)
			if verb == nil || add.Kind == KindPcap || add.Kind == KindTAP || add.Kind == KindPacket { // of the host's files and devices
				continue
			}
			o, err := os.Open(file)
			if err != nil {
				t.Fatal(err)
			}
			verb(context.Background(), &serve.Request{Args: []byte(args), Files: []*os.File{o}, Names: noNames{}}, func(any) error { return nil })
			o.Close()
		}
		for _, d := range s.net.Devices() {
			if p := d.Peer(); s.links[d.Index()] == nil || p != nil && s.net.Device(p.Index()) != p {
				t.Errorf("%s is half there", d.Name())
			}
		}
	})
}
