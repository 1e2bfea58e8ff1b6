package catalog

// Offsets of packet.Frame's fields. The catalog must not import packet; a test
// there holds these numbers to unsafe.Offsetof.
const (
	FrameData      = 0
	FrameDataEnd   = 8
	FrameDataMeta  = 16
	FrameHardStart = 24
	FrameEnd       = 32
	FrameHardEnd   = 40

	FrameRxIfindex = 48
	FrameRxQueue   = 52
	FrameTxIfindex = 56
	FrameXDPFlags  = 60

	FrameLen            = 64
	FramePktType        = 68
	FrameMark           = 72
	FrameQueueMapping   = 76
	FrameProtocol       = 80
	FrameVLANPresent    = 84
	FrameVLANTCI        = 88
	FrameVLANProto      = 92
	FramePriority       = 96
	FrameIngressIfindex = 100
	FrameIfindex        = 104
	FrameTCIndex        = 108
	FrameCB             = 112
	FrameHash           = 132
	FrameTCClassID      = 136
	FrameNAPIID         = 140
	FrameFamily         = 144
	FrameRemoteIP4      = 148
	FrameLocalIP4       = 152
	FrameRemoteIP6      = 156
	FrameLocalIP6       = 172
	FrameRemotePort     = 188
	FrameLocalPort      = 192
	FrameWireLen        = 196
	FrameGSOSegs        = 200
	FrameGSOSize        = 204
	FrameTstampType     = 208
	FrameTstamp         = 216
	FrameHWTstamp       = 224
	FrameFlowKeys       = 232
	FrameSock           = 240
)
