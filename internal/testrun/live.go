package testrun

import (
	"encoding/binary"
	"fmt"

	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/packet"
)

// LiveFrames has the frames of an XDP program's run go where the program says (uapi BPF_F_TEST_XDP_LIVE_FRAMES).
const LiveFrames uint32 = 1 << 1

// Live is where the frames of a live run are and where they come in.
type Live struct {
	Data    []byte // metadata and packet
	Meta    int    // bytes of the former
	Ifindex uint32 // 0: the loopback device
	Queue   uint32 // of that device; programs see 0
}

// LiveOf follows bpf_prog_test_run_xdp on the way to a live run of size bytes, but for the data themselves. ctx is
// the context, nil for none.
func LiveOf(size int, ctx []byte) (l Live, err error) {
	var md XDPMd
	linear := size
	if ctx != nil {
		b, err := fitContext(ctx, binary.Size(md))
		if err != nil {
			return l, err
		}
		binary.Decode(b, binary.NativeEndian, &md)
		linear = int(md.DataEnd)
	}
	l.Meta, l.Ifindex, l.Queue = int(md.Data), md.IngressIfindex, md.RxQueueIndex
	switch {
	case md.DataMeta != 0, int64(md.DataEnd) > int64(size), md.Data > md.DataEnd,
		!packet.MetaFits(l.Meta),
		linear < size || size-l.Meta > packet.LiveMax, // paged bytes cannot be live
		size-l.Meta < ethLen,
		md.EgressIfindex != 0, l.Ifindex == 0 && l.Queue != 0:
		return l, fmt.Errorf("context: xdp_md does not fit %d bytes of frames that are live: %w", size, errno.EINVAL)
	}
	return l, nil
}
