package prog

import (
	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/cli/objects"
	"github.com/skep-bpf/skep/internal/cli/ui"
	"github.com/skep-bpf/skep/internal/linux"
)

// places are the attach types of these verbs, each with the name bpftool had for it first.
var places = []struct {
	typ catalog.AttachType
	old string
}{
	{catalog.AttachSkSKBStreamParser, "stream_parser"},
	{catalog.AttachSkSKBStreamVerdict, "stream_verdict"},
	{catalog.AttachSkSKBVerdict, "skb_verdict"},
	{catalog.AttachSkMsgVerdict, "msg_verdict"},
	{catalog.AttachFlowDissector, ""},
}

func attach(v *objects.Verb) error {
	return atPlace(v, func(prog, target int, t catalog.AttachType) error { return linux.ProgAttach(prog, target, t, 0) })
}

func detach(v *objects.Verb) error { return atPlace(v, linux.ProgDetach) }

// atPlace takes PROG ATTACH_TYPE [MAP]: a flow dissector is the network
// namespace's, all others a map of sockets has.
func atPlace(v *objects.Verb, do func(prog, target int, t catalog.AttachType) error) error {
	p, err := v.Prog()
	if err != nil {
		return err
	}
	defer p.Close()
	word, err := v.Next("ATTACH_TYPE")
	if err != nil {
		return err
	}
	for _, place := range places {
		if word != place.typ.String() && !objects.Begins(word, place.old) {
			continue
		}
		target := 0
		if place.typ != catalog.AttachFlowDissector {
			m, _, err := v.Map()
			if err != nil {
				return err
			}
			defer m.Close()
			target = m.FD()
		}
		if err := v.End(); err != nil {
			return err
		}
		if err := do(p.FD(), target, place.typ); err != nil {
			return err
		}
		return v.Done()
	}
	return ui.Usagef("%q: there are sk_msg_verdict, sk_skb_verdict, sk_skb_stream_verdict, sk_skb_stream_parser and flow_dissector", word)
}
