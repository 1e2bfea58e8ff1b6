package catalog

// FieldKind is what a load from a context field yields to the verifier.
type FieldKind uint8

// Kinds of context fields.
const (
	FieldScalar     FieldKind = iota
	FieldPkt                  // PTR_TO_PACKET
	FieldPktMeta              // PTR_TO_PACKET_META
	FieldPktEnd               // PTR_TO_PACKET_END
	FieldSock                 // PTR_TO_SOCKET
	FieldSockCommon           // PTR_TO_SOCK_COMMON
	FieldTCPSock              // PTR_TO_TCP_SOCK
	FieldXDPSock              // PTR_TO_XDP_SOCK
	FieldFlowKeys             // PTR_TO_FLOW_KEYS
	FieldTPBuffer             // PTR_TO_TP_BUFFER
	FieldBTF                  // PTR_TO_BTF_ID of Field.BTF, trusted
)

// Field is one field of a context or of a socket structure, as the program
// sees it and as it really lies in memory.
//
// An access at offset o of width w is legal when o is a multiple of w, lies in
// the field, and w is Elem; or less, where Narrow allows it; or 8 over two
// elements, where Wide does.
type Field struct {
	Name string
	Off  int // in the uapi struct, bytes
	Size int // in the uapi struct, bytes; an array (cb, remote_ip6) is one row
	Elem int // size of an array's element; 0: Size

	Kind      FieldKind
	MaybeNull bool // for pointer kinds
	BTF       string

	Read, Write ProgSet   // program types that may
	ReadAt      AttachSet // expected attach types that reading is limited to; 0: any
	WriteAt     AttachSet // the same for writing
	ReadBPF     ProgSet   // program types that must have CAP_BPF for it
	WriteBPF    ProgSet   // the same for writing

	Narrow      int  // least width of a load, bytes; 0: whole elements only
	NarrowWrite bool // narrow stores too
	Wide        bool // 8 bytes may span two 4-byte elements, in loads and stores
	Start       bool // narrow loads only at the field's first byte
	Pad4        bool // a 4-byte load may take the field and the zero padding behind it
	NotCommon   bool // of bpf_sock: not within reach of a sock_common pointer

	// At and AtSize say where internal/rewrite finds the value: offset and width
	// in the internal context ([Context.Frame]). An array's elements follow one
	// another there as they do in the uapi struct. Conv names what must happen
	// besides a plain load or store. Target is the width of what lies behind the
	// field in the kernel, where that is less than AtSize: a narrow load of at
	// least Target bytes takes the whole field, wherever in it it begins
	// (convert_ctx_accesses).
	At     int
	AtSize int
	Target int
	Conv   Conv
}

// Conv is how the rewriter turns an access to the uapi field into instructions
// over the internal context.
type Conv uint8

// Conversions.
const (
	ConvPlain  Conv = iota // load or store At with AtSize
	ConvConst0             // reads as zero, no memory behind it
	ConvQueue              // a store of 0xffff (NO_QUEUE_MAPPING) or more is dropped
)

// elem returns the width of an ordinary access.
func (f *Field) elem() int {
	if f.Elem != 0 {
		return f.Elem
	}
	return f.Size
}

// widthOK reports whether the field may be accessed at off with the given width.
func (f *Field) widthOK(off, width int, write bool) bool {
	switch elem := f.elem(); {
	case width == elem:
		return off+width <= f.Off+f.Size
	case width < elem:
		if write {
			return f.NarrowWrite
		}
		return f.Narrow != 0 && width >= f.Narrow && !(f.Start && off != f.Off)
	case width == 8 && f.Wide:
		return off+8 <= f.Off+f.Size
	}
	return width == 4 && f.Pad4 && !write && off == f.Off
}

// Context is what a program type's first argument points to.
type Context struct {
	Name   string // of the uapi struct: "xdp_md"
	Size   int    // bytes
	Fields []Field
	// Frame: At counts in packet.Frame. Otherwise the internal context has the
	// uapi struct's layout, and At is Off.
	Frame bool
	// Typed: the fields are the arguments of the function or member the program
	// is attached to, 8 bytes each, with their BTF types. Fields is empty.
	Typed bool
}

// Access is one load or store of a context.
type Access struct {
	Off, Width int // bytes
	Write      bool
	SignExtend bool // a sign-extending load
	Prog       ProgType
	Attach     AttachType
	// Unprivileged: the loader has not CAP_BPF.
	Unprivileged bool
}

// fieldAt returns the last field that starts at or before off and reaches past it, or nil.
func fieldAt(fields []Field, off int) *Field {
	for i := len(fields) - 1; i >= 0; i-- {
		if f := &fields[i]; off >= f.Off && off < f.Off+f.Size {
			return f
		}
	}
	return nil
}

// Field returns the field that the access reaches, or nil when the program may
// not make it (the program types' is_valid_access).
func (c *Context) Field(a Access) *Field {
	if a.Off < 0 || a.Width <= 0 || a.Off%a.Width != 0 {
		return nil
	}
	f := fieldAt(c.Fields, a.Off)
	if f == nil || !f.widthOK(a.Off, a.Width, a.Write) {
		return nil
	}
	may, at, bpf := f.Read, f.ReadAt, f.ReadBPF
	if a.Write {
		may, at, bpf = f.Write, f.WriteAt, f.WriteBPF
	}
	switch {
	case !may.Has(a.Prog),
		at != 0 && !at.Has(a.Attach),
		a.Unprivileged && bpf.Has(a.Prog),
		a.SignExtend && (f.Kind == FieldPkt || f.Kind == FieldPktMeta || f.Kind == FieldPktEnd):
		return nil
	}
	return f
}

// SockField returns the field that a load of width bytes at off reaches through
// a pointer of the given kind (FieldSock, FieldSockCommon, FieldTCPSock or
// FieldXDPSock), or nil when the program may not make it (check_sock_access).
// Such structures are never written.
func SockField(kind FieldKind, off, width int) *Field {
	var fields []Field
	switch kind {
	case FieldSock, FieldSockCommon:
		fields = bpfSock.Fields
	case FieldTCPSock:
		fields = bpfTCPSock.Fields
	case FieldXDPSock:
		fields = bpfXDPSock.Fields
	}
	if off < 0 || width <= 0 || off%width != 0 {
		return nil
	}
	f := fieldAt(fields, off)
	if f == nil || !f.widthOK(off, width, false) || kind == FieldSockCommon && f.NotCommon {
		return nil
	}
	return f
}
