package skep

import (
	"encoding/binary"
	"fmt"

	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/marshal"
	"github.com/skep-bpf/skep/internal/testrun"
)

// XDPMd is struct xdp_md, the context of XDP programs, SKBuff struct __sk_buff,
// that of tc programs and socket filters, SkLookupContext struct bpf_sk_lookup, as [RunOptions.Context] and
// [RunOptions.ContextOut] take them. FlowKeys is struct bpf_flow_keys: a flow_dissector program's run leaves one in
// [RunOptions.DataOut], and its Context is one. NFHookState is struct nf_hook_state, the Context of netfilter programs.
type (
	XDPMd  = testrun.XDPMd
	SKBuff = testrun.SKBuff

	SkLookupContext = testrun.SkLookup
	FlowKeys        = testrun.FlowKeys
	NFHookState     = testrun.NFHookState
)

// contextBytes turns a context into bytes.
func contextBytes(ctx any) ([]byte, error) {
	if b, ok := ctx.([]byte); ok {
		return b, nil
	}
	n := binary.Size(ctx)
	if n < 0 {
		return nil, fmt.Errorf("context: %T has no fixed layout", ctx)
	}
	b, err := marshal.Append(nil, ctx, n)
	if err != nil {
		return nil, fmt.Errorf("context: %w", err)
	}
	return b, nil
}

// storeContext hands a context out: into a pointer to its own type, or as bytes.
func storeContext(dst any, b []byte) error {
	if s, ok := dst.([]byte); ok {
		if len(s) < len(b) {
			return fmt.Errorf("context of %d bytes does not fit ContextOut: %w", len(b), errno.ENOSPC)
		}
		copy(s, b)
		return nil
	}
	if err := marshal.Decode(dst, b); err != nil {
		return fmt.Errorf("ContextOut: %w", err)
	}
	return nil
}
