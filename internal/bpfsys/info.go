package bpfsys

import (
	"crypto/sha256"
	"encoding/binary"
	"slices"
	"unsafe"

	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/maps"
	"github.com/skep-bpf/skep/internal/run"
	"github.com/skep-bpf/skep/internal/verifier"
	"github.com/skep-bpf/skep/isa"
)

// The structs OBJ_GET_INFO_BY_FD fills, by the uapi's names.
type (
	progInfo struct {
		Type, Id                           uint32
		Tag                                [8]byte
		JitedProgLen, XlatedProgLen        uint32
		JitedProgInsns, XlatedProgInsns    uint64
		LoadTime                           uint64
		CreatedByUid, NrMapIds             uint32
		MapIds                             uint64
		Name                               [16]byte
		Ifindex, GplCompatible             uint32
		NetnsDev, NetnsIno                 uint64
		NrJitedKsyms, NrJitedFuncLens      uint32
		JitedKsyms, JitedFuncLens          uint64
		BtfId, FuncInfoRecSize             uint32
		FuncInfo                           uint64
		NrFuncInfo, NrLineInfo             uint32
		LineInfo, JitedLineInfo            uint64
		NrJitedLineInfo, LineInfoRecSize   uint32
		JitedLineInfoRecSize, NrProgTags   uint32
		ProgTags                           uint64
		RunTimeNs, RunCnt, RecursionMisses uint64
		VerifiedInsns                      uint32
		AttachBtfObjId, AttachBtfId        uint32
		_                                  uint32
	}

	mapInfo struct {
		Type, Id, KeySize, ValueSize, MaxEntries, MapFlags uint32
		Name                                               [16]byte
		Ifindex, BtfVmlinuxValueTypeId                     uint32
		NetnsDev, NetnsIno                                 uint64
		BtfId, BtfKeyTypeId, BtfValueTypeId, BtfVmlinuxId  uint32
		MapExtra                                           uint64
		Hash                                               uint64
		HashSize                                           uint32
		_                                                  uint32
	}

	btfInfo struct {
		Btf         uint64
		BtfSize, Id uint32
		Name        uint64
		NameLen     uint32
		KernelBtf   uint32
	}

	linkInfo struct {
		Type, Id, ProgId uint32
		_                uint32
		U                [48]byte // by type of link
	}
)

// objInfo follows bpf_obj_get_info_by_fd.
func (c *call) objInfo() (int32, errno.Errno) {
	a := as[objInfo](&c.attr)
	f, e := c.who.Files.File(a.BpfFd)
	if e != 0 {
		return 0, errno.EBADFD
	}
	if f == nil {
		return 0, errno.EINVAL
	}
	defer f.Put()
	switch o := f.object.(type) {
	case Map:
		return 0, c.mapInfo(a, o)
	case *run.Program:
		return 0, c.progInfo(a, o)
	case *BTF:
		return 0, c.btfInfo(a, o)
	case *Link:
		return 0, c.linkInfo(a, o)
	}
	return 0, errno.EINVAL
}

// getInfo copies a struct of info in, as far as the caller has it; what it has more must be zero.
func getInfo[T any](c *call, a *objInfo) (*T, uint32, errno.Errno) {
	info := new(T)
	size := uint32(unsafe.Sizeof(*info))
	if e := c.zeroInfo(a, size); e != 0 {
		return nil, 0, e
	}
	n := min(a.InfoLen, size)
	if n != 0 && !c.who.Memory.Read(a.Info, bytesOf(info)[:n]) {
		return nil, 0, errno.EFAULT
	}
	return info, n, 0
}

// zeroInfo is zeroFrom with the bound of bpf_check_uarg_tail_zero.
func (c *call) zeroInfo(a *objInfo, size uint32) errno.Errno {
	if a.InfoLen > pageSize {
		return errno.E2BIG
	}
	return c.zeroFrom(a.Info, size, a.InfoLen)
}

// putInfo hands the struct out.
func putInfo[T any](c *call, a *objInfo, info *T, n uint32) errno.Errno {
	if e := c.write(a.Info, bytesOf(info)[:n]); e != 0 {
		return e
	}
	return c.put(unsafe.Offsetof(a.InfoLen), u32bytes(n))
}

// bytesOf views a struct of plain numbers as bytes.
func bytesOf[T any](v *T) []byte { return unsafe.Slice((*byte)(unsafe.Pointer(v)), unsafe.Sizeof(*v)) }

// mapInfo follows bpf_map_get_info_by_fd, which reads nothing of what is there.
func (c *call) mapInfo(a *objInfo, m Map) errno.Errno {
	info, n, e := getInfo[mapInfo](c, a)
	if e != 0 {
		return e
	}
	d := m.Def()
	if e := c.mapHash(m, info); e != 0 {
		return e
	}
	*info = mapInfo{
		Hash: info.Hash, HashSize: info.HashSize,
		Type: uint32(d.Type), Id: d.ID, KeySize: d.KeySize, ValueSize: d.ValueSize,
		MaxEntries: d.MaxEntries, MapFlags: d.Flags, MapExtra: d.Extra,
	}
	copy(info.Name[:15], d.Name)
	if d.BTF != nil {
		info.BtfId, info.BtfKeyTypeId, info.BtfValueTypeId = d.BTF.ID, d.BTF.Key, d.BTF.Value
	}
	if d.Ops != nil {
		info.BtfVmlinuxValueTypeId, info.BtfVmlinuxId = uint32(d.Ops.ValueID), c.s.kernelBTF().id
	}
	return putInfo(c, a, info, n)
}

// mapHash writes the hash of a frozen array's values where it is asked for; other types have none (map_get_hash).
func (c *call) mapHash(m Map, info *mapInfo) errno.Errno {
	if info.Hash == 0 && info.HashSize == 0 {
		return 0
	}
	array, ok := maps.Unwrap(m.Map).(*maps.Array)
	switch {
	case !ok, info.Hash == 0, info.HashSize != sha256.Size:
		return errno.EINVAL
	case !m.Frozen():
		return errno.EPERM
	}
	hash := sha256.Sum256(array.Memory())
	return c.write(info.Hash, hash[:])
}

// btfInfo follows btf_get_info_by_fd.
func (c *call) btfInfo(a *objInfo, b *BTF) errno.Errno {
	info, n, e := getInfo[btfInfo](c, a)
	if e != 0 {
		return e
	}
	raw := b.bytes()
	if e := c.write(info.Btf, raw[:min(uint64(info.BtfSize), uint64(len(raw)))]); e != 0 {
		return e
	}
	info.Id, info.BtfSize = b.id, uint32(len(raw))
	info.KernelBtf = 0
	if b.kernel {
		info.KernelBtf = 1
	}
	room := info.NameLen
	if (info.Name != 0) != (room != 0) {
		return errno.EINVAL
	}
	info.NameLen = uint32(len(b.name))
	var late errno.Errno
	if info.Name != 0 {
		name := b.name
		if room < uint32(len(name))+1 {
			name, late = name[:room-1], errno.ENOSPC
		}
		if e := c.write(info.Name, append([]byte(name), 0)); e != 0 {
			return e
		}
	}
	if e := putInfo(c, a, info, n); e != 0 {
		return e
	}
	return late
}

// progInfo follows bpf_prog_get_info_by_fd.
func (c *call) progInfo(a *objInfo, p *run.Program) errno.Errno {
	in, n, e := getInfo[progInfo](c, a)
	if e != 0 {
		return e
	}
	about := &p.About
	runs, took := p.Timed()
	info := progInfo{
		Type: uint32(p.Info.Type), Id: p.ID(), Tag: about.Tag, LoadTime: about.Time, CreatedByUid: about.UID,
		RunTimeNs: uint64(took.Nanoseconds()), RunCnt: runs, RecursionMisses: p.Misses(), VerifiedInsns: uint32(about.VerifiedInsns),
		AttachBtfObjId: about.AttachBTF, BtfId: about.BTF,
		FuncInfoRecSize: funcInfoSize, LineInfoRecSize: lineInfoSize, JitedLineInfoRecSize: 8,
	}
	copy(info.Name[:15], p.Info.Name)
	if p.Rewritten.Source.GPL {
		info.GplCompatible = 1
	}
	var ids []byte
	for _, m := range p.Maps() {
		ids = append(ids, u32bytes(m.Def().ID)...)
	}
	if e := c.putArray(array{ids, 4, in.NrMapIds, in.MapIds, &info.NrMapIds, &info.MapIds}); e != 0 {
		return e
	}
	// Who says how long records are, or asks for some, has to know their length (set_info_rec_size).
	for _, r := range [][3]uint32{
		{in.NrFuncInfo, in.FuncInfoRecSize, info.FuncInfoRecSize},
		{in.NrLineInfo, in.LineInfoRecSize, info.LineInfoRecSize},
		{in.NrJitedLineInfo, in.JitedLineInfoRecSize, info.JitedLineInfoRecSize},
	} {
		if (r[0] != 0 || r[1] != 0) && r[1] != r[2] {
			return errno.EINVAL
		}
	}
	if c.who.can(CapBPF) {
		info.AttachBtfId = about.AttachBTFType
		code, lines := c.s.xlated(p), moved(p, about.LineInfo, lineInfoSize)
		native, syms, lens, nativeLines := jited(p, lines)
		for _, f := range []array{
			{isa.Encode(code, binary.NativeEndian), 1, in.XlatedProgLen, in.XlatedProgInsns, &info.XlatedProgLen, &info.XlatedProgInsns},
			{native, 1, in.JitedProgLen, in.JitedProgInsns, &info.JitedProgLen, &info.JitedProgInsns},
			{syms, 8, in.NrJitedKsyms, in.JitedKsyms, &info.NrJitedKsyms, &info.JitedKsyms},
			{lens, 4, in.NrJitedFuncLens, in.JitedFuncLens, &info.NrJitedFuncLens, &info.JitedFuncLens},
			{moved(p, about.FuncInfo, funcInfoSize), funcInfoSize, in.NrFuncInfo, in.FuncInfo, &info.NrFuncInfo, &info.FuncInfo},
			{lines, lineInfoSize, in.NrLineInfo, in.LineInfo, &info.NrLineInfo, &info.LineInfo},
			{nativeLines, 8, in.NrJitedLineInfo, in.JitedLineInfo, &info.NrJitedLineInfo, &info.JitedLineInfo},
			{about.Tag[:], 8, in.NrProgTags, in.ProgTags, &info.NrProgTags, &info.ProgTags},
		} {
			if e := c.putArray(f); e != 0 {
				return e
			}
		}
	}
	return putInfo(c, a, &info, n)
}

// array is what is copied out beside a struct of info.
type array struct {
	data []byte
	size int    // of an element
	room uint32 // elements the caller has room for
	to   uint64
	n    *uint32 // where to say how many there are
	addr *uint64 // the field that to was read from
}

// putArray copies as many elements as there is room for.
func (c *call) putArray(f array) errno.Errno {
	have := len(f.data) / f.size
	*f.n, *f.addr = uint32(have), f.to
	return c.write(f.to, f.data[:int(min(uint64(f.room), uint64(have)))*f.size])
}

// jited are the program's native code, the addresses and lengths of its
// functions, and the address of the code of each line; an interpreted program
// has one function of no length.
func jited(p *run.Program, lines []byte) (text, syms, lens, at []byte) {
	n, ok := p.NativeCode()
	if !ok {
		return nil, make([]byte, 8), make([]byte, 4), nil
	}
	order := binary.NativeEndian
	for i, off := range n.Functions {
		end := len(n.Text)
		if i+1 < len(n.Functions) {
			end = n.Functions[i+1]
		}
		syms = order.AppendUint64(syms, n.Addr+uint64(off))
		lens = order.AppendUint32(lens, uint32(end-off))
	}
	subs := p.Rewritten.Subprogs
	for r := range each(lines, lineInfoSize) {
		slot := int(order.Uint32(r))
		off := n.Slots[slot]
		// A function's first line begins where the function does, before what every function begins with.
		if i := slices.IndexFunc(subs, func(s verifier.Subprog) bool { return s.Start == slot }); i >= 0 && i < len(n.Functions) {
			off = n.Functions[i]
		}
		at = order.AppendUint64(at, n.Addr+uint64(off))
	}
	return n.Text, syms, lens, at
}

// moved are records of func_info or line_info with the slots of the rewritten
// program; those of code that is gone are left out.
func moved(p *run.Program, recs []byte, size int) []byte {
	if len(recs) == 0 {
		return nil
	}
	rw := p.Rewritten
	to := map[uint32]uint32{}
	for slot := range rw.Insns {
		orig := uint32(slot)
		if rw.Orig != nil {
			orig = uint32(rw.Orig[slot])
		}
		if _, ok := to[orig]; !ok {
			to[orig] = uint32(slot)
		}
	}
	out := make([]byte, 0, len(recs))
	for r := range each(recs, size) {
		if slot, ok := to[binary.NativeEndian.Uint32(r)]; ok {
			out = append(out, r...)
			binary.NativeEndian.PutUint32(out[len(out)-size:], slot)
		}
	}
	return out
}

// xlated is the program as the engines run it, in the form that bpf_insn_prepare_dump
// gives it: maps by their ids instead of their addresses.
func (s *System) xlated(p *run.Program) []isa.Instruction {
	code := append([]isa.Instruction(nil), p.Rewritten.Insns...)
	used := p.Maps()
	for i := 0; i+1 < len(code); i++ {
		if !code[i].IsLoadImm64() {
			continue
		}
		if code[i].Src == 0 {
			v := uint64(uint32(code[i].Imm)) | uint64(uint32(code[i+1].Imm))<<32
			for _, m := range used {
				d := m.Def()
				switch size := uint64(d.ValueSize); {
				case v == d.Ptr:
					code[i].Src, code[i].Imm, code[i+1].Imm = isa.PseudoMapFD, int32(d.ID), 0
				case d.ValueBase != 0 && v >= d.ValueBase && v-d.ValueBase < size:
					code[i].Src, code[i].Imm, code[i+1].Imm = isa.PseudoMapValue, int32(d.ID), int32(v-d.ValueBase)
				}
			}
		}
		i++
	}
	return code
}
