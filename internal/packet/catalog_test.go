package packet

import (
	"testing"
	"unsafe"

	"github.com/skep-bpf/skep/internal/catalog"
)

// The catalog names Frame's fields by offsets of its own; they must be these.
func TestFrameOffsets(t *testing.T) {
	var f Frame
	for _, c := range []struct {
		name      string
		got, want uintptr
	}{
		{"Data", catalog.FrameData, unsafe.Offsetof(f.Data)},
		{"DataEnd", catalog.FrameDataEnd, unsafe.Offsetof(f.DataEnd)},
		{"DataMeta", catalog.FrameDataMeta, unsafe.Offsetof(f.DataMeta)},
		{"HardStart", catalog.FrameHardStart, unsafe.Offsetof(f.HardStart)},
		{"End", catalog.FrameEnd, unsafe.Offsetof(f.End)},
		{"HardEnd", catalog.FrameHardEnd, unsafe.Offsetof(f.HardEnd)},
		{"RxIfindex", catalog.FrameRxIfindex, unsafe.Offsetof(f.RxIfindex)},
		{"RxQueue", catalog.FrameRxQueue, unsafe.Offsetof(f.RxQueue)},
		{"TxIfindex", catalog.FrameTxIfindex, unsafe.Offsetof(f.TxIfindex)},
		{"XDPFlags", catalog.FrameXDPFlags, unsafe.Offsetof(f.XDPFlags)},
		{"Len", catalog.FrameLen, unsafe.Offsetof(f.Len)},
		{"PktType", catalog.FramePktType, unsafe.Offsetof(f.PktType)},
		{"Mark", catalog.FrameMark, unsafe.Offsetof(f.Mark)},
		{"QueueMapping", catalog.FrameQueueMapping, unsafe.Offsetof(f.QueueMapping)},
		{"Protocol", catalog.FrameProtocol, unsafe.Offsetof(f.Protocol)},
		{"VLANPresent", catalog.FrameVLANPresent, unsafe.Offsetof(f.VLANPresent)},
		{"VLANTCI", catalog.FrameVLANTCI, unsafe.Offsetof(f.VLANTCI)},
		{"VLANProto", catalog.FrameVLANProto, unsafe.Offsetof(f.VLANProto)},
		{"Priority", catalog.FramePriority, unsafe.Offsetof(f.Priority)},
		{"IngressIfindex", catalog.FrameIngressIfindex, unsafe.Offsetof(f.IngressIfindex)},
		{"Ifindex", catalog.FrameIfindex, unsafe.Offsetof(f.Ifindex)},
		{"TCIndex", catalog.FrameTCIndex, unsafe.Offsetof(f.TCIndex)},
		{"CB", catalog.FrameCB, unsafe.Offsetof(f.CB)},
		{"Hash", catalog.FrameHash, unsafe.Offsetof(f.Hash)},
		{"TCClassID", catalog.FrameTCClassID, unsafe.Offsetof(f.TCClassID)},
		{"NAPIID", catalog.FrameNAPIID, unsafe.Offsetof(f.NAPIID)},
		{"Family", catalog.FrameFamily, unsafe.Offsetof(f.Family)},
		{"RemoteIP4", catalog.FrameRemoteIP4, unsafe.Offsetof(f.RemoteIP4)},
		{"LocalIP4", catalog.FrameLocalIP4, unsafe.Offsetof(f.LocalIP4)},
		{"RemoteIP6", catalog.FrameRemoteIP6, unsafe.Offsetof(f.RemoteIP6)},
		{"LocalIP6", catalog.FrameLocalIP6, unsafe.Offsetof(f.LocalIP6)},
		{"RemotePort", catalog.FrameRemotePort, unsafe.Offsetof(f.RemotePort)},
		{"LocalPort", catalog.FrameLocalPort, unsafe.Offsetof(f.LocalPort)},
		{"WireLen", catalog.FrameWireLen, unsafe.Offsetof(f.WireLen)},
		{"GSOSegs", catalog.FrameGSOSegs, unsafe.Offsetof(f.GSOSegs)},
		{"GSOSize", catalog.FrameGSOSize, unsafe.Offsetof(f.GSOSize)},
		{"TstampType", catalog.FrameTstampType, unsafe.Offsetof(f.TstampType)},
		{"Tstamp", catalog.FrameTstamp, unsafe.Offsetof(f.Tstamp)},
		{"HWTstamp", catalog.FrameHWTstamp, unsafe.Offsetof(f.HWTstamp)},
		{"FlowKeys", catalog.FrameFlowKeys, unsafe.Offsetof(f.FlowKeys)},
		{"Sock", catalog.FrameSock, unsafe.Offsetof(f.Sock)},
	} {
		if c.got != c.want {
			t.Errorf("%s lies at %d, the catalog says %d", c.name, c.want, c.got)
		}
	}
}
