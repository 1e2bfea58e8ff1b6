package image

import (
	"errors"
	"fmt"
	"reflect"
	"strings"

	"github.com/cilium/ebpf/btf"

	"github.com/skep-bpf/skep/isa"
)

// CO-RE relocations by libbpf's rules (relo_core.c), on cilium/ebpf's types.
// cilium's own CORERelocate is not used: its fixups can be applied to its own
// instructions on Linux only, they never change the width of an access when a
// field's size differs, and one relocation that cannot be decided fails all of
// a program's.

// coreKind is enum bpf_core_relo_kind.
type coreKind uint32

const (
	coreByteOffset coreKind = iota
	coreByteSize
	coreFieldExists
	coreSigned
	coreLShift
	coreRShift
	coreTypeIDLocal
	coreTypeIDTarget
	coreTypeExists
	coreTypeSize
	coreEnumvalExists
	coreEnumvalValue
	coreTypeMatches
	coreKinds // their number
)

var coreNames = [coreKinds]string{
	"byte_off", "byte_sz", "field_exists", "signed", "lshift_u64", "rshift_u64",
	"local_type_id", "target_type_id", "type_exists", "type_size",
	"enumval_exists", "enumval_value", "type_matches",
}

func (k coreKind) isField() bool   { return k <= coreRShift }
func (k coreKind) isEnumval() bool { return k == coreEnumvalExists || k == coreEnumvalValue }

// coreResult is what a relocation found: the value the compiler wrote and the one to write.
type coreResult struct {
	local, target uint64
	poison        bool // nothing to write: the instruction must never run
	unchecked     bool // local may differ from what the compiler wrote

	// Size of the accessed field here and there, in bytes; 0: does not matter.
	localSize, targetSize uint32
	// badSize says that a load or store cannot be adapted to targetSize.
	badSize bool
}

// errPoison asks for coreResult.poison.
var errPoison = errors.New("no counterpart in the target")

// relocator applies the CO-RE relocations of one object.
type relocator struct {
	types  *objectTypes
	target *target
	// candidates caches the target's types a local type may stand for. Each
	// relocation that matches some of them drops the others.
	candidates map[uint32][]btf.Type
}

// relocateCORE patches the functions' instructions. What fails is kept in the
// function: only programs that contain it cannot be loaded.
func relocateCORE(c *code, types *objectTypes, target *target) {
	if types == nil || types.ext == nil {
		return
	}
	r := &relocator{types: types, target: target, candidates: map[uint32][]btf.Type{}}
	for _, f := range c.funcs {
		recs := within(types.ext.cores[f.sec.Name], f, func(r coreRec) int { return r.slot })
		if len(recs) == 0 {
			continue
		}
		f.insns = append([]isa.Instruction(nil), f.insns...)
		for _, rec := range recs {
			i := rec.slot - f.start
			if err := r.apply(f.insns, i, rec); err != nil {
				f.err = &Error{Section: f.sec.Name, Symbol: f.name, Slot: i,
					Err: fmt.Errorf("CO-RE relocation %v: %w", rec, err)}
				break
			}
		}
	}
}

// String names the relocation: kind, local type id and path.
func (c coreRec) String() string {
	kind := fmt.Sprint(uint32(c.kind))
	if c.kind < coreKinds {
		kind = coreNames[c.kind]
	}
	return fmt.Sprintf("%s of type [%d] at %s", kind, c.id, c.access)
}

func (r *relocator) apply(insns []isa.Instruction, i int, rec coreRec) error {
	res, err := r.calculate(rec)
	if err != nil {
		return err
	}
	return patchCORE(insns[i:], res)
}

// calculate decides one relocation (libbpf: bpf_core_calc_relo_insn).
func (r *relocator) calculate(rec coreRec) (coreResult, error) {
	local := r.types.typeByID(rec.id)
	if local == nil || rec.kind >= coreKinds {
		return coreResult{}, fmt.Errorf("%w: no such type or kind", ErrBadBTF)
	}
	if rec.kind == coreTypeIDLocal {
		return coreResult{target: uint64(rec.id), unchecked: true}, nil
	}
	spec, err := parseCoreSpec(local, rec)
	if err != nil {
		return coreResult{}, err
	}
	if local.TypeName() == "" {
		return coreResult{}, fmt.Errorf("%w: type without name", ErrNotSupported)
	}
	cands, err := r.find(rec.id, local)
	if err != nil {
		return coreResult{}, err
	}
	var res coreResult
	var bits uint64
	var matching []btf.Type
	for _, cand := range cands {
		other, ok, err := spec.match(cand)
		if err != nil {
			return coreResult{}, err
		}
		if !ok {
			continue
		}
		one, err := r.compare(rec.kind, spec, other)
		if err != nil {
			return coreResult{}, err
		}
		if len(matching) > 0 && (other.bits != bits || one.poison != res.poison || one.target != res.target) {
			return coreResult{}, fmt.Errorf("%w: several types %s in the target disagree", ErrBadReloc, local.TypeName())
		}
		res, bits, matching = one, other.bits, append(matching, cand)
	}
	if len(matching) == 0 {
		return r.compare(rec.kind, spec, nil)
	}
	r.candidates[rec.id] = matching
	return res, nil
}

// find returns the target's types of a local type's kind and essential name.
func (r *relocator) find(id uint32, local btf.Type) ([]btf.Type, error) {
	if c, ok := r.candidates[id]; ok {
		return c, nil
	}
	spec, err := r.target.spec()
	if err != nil {
		return nil, fmt.Errorf("%w: %v", ErrNoTarget, err)
	}
	types, err := byEssentialName(spec.TypesByName, essentialName(local.TypeName()))
	if err != nil && !errors.Is(err, btf.ErrNotFound) {
		return nil, fmt.Errorf("%w: target: %v", ErrBadBTF, err)
	}
	var cands []btf.Type
	for _, t := range types {
		if reflect.TypeOf(t) == reflect.TypeOf(local) {
			cands = append(cands, t)
		}
	}
	r.candidates[id] = cands
	return cands, nil
}

// byEssentialName calls btf.Spec's TypesByName, which finds a name in all its
// flavours, and whose argument has a type that only inference can name.
func byEssentialName[T ~string](typesByName func(T) ([]btf.Type, error), name string) ([]btf.Type, error) {
	return typesByName(T(name))
}

// essentialName cuts a flavour ("task_struct___v5") off a name.
func essentialName(name string) string {
	if i := strings.LastIndex(name, "___"); i > 0 {
		return name[:i]
	}
	return name
}

// compare calculates a relocation's value here and there; other is nil when
// the target has no counterpart (libbpf: bpf_core_calc_relo).
func (r *relocator) compare(kind coreKind, spec, other *coreSpec) (coreResult, error) {
	var res coreResult
	here, err := r.value(kind, spec)
	if err != nil {
		return res, err
	}
	there, err := r.value(kind, other)
	if errors.Is(err, errPoison) {
		return coreResult{poison: true}, nil
	}
	if err != nil {
		return res, err
	}
	res = coreResult{
		local: here.n, target: there.n, unchecked: here.unchecked,
		localSize: here.size, targetSize: there.size,
	}
	if here.size != there.size {
		res.badSize = !widthMayChange(here.typ, there.typ)
	}
	return res, nil
}

// widthMayChange reports whether zero extension keeps the value of a field
// whose size differs: pointers and unsigned integers.
func widthMayChange(a, b btf.Type) bool {
	switch a := a.(type) {
	case *btf.Pointer:
		_, ok := b.(*btf.Pointer)
		return ok
	case *btf.Int:
		b, ok := b.(*btf.Int)
		return ok && a.Encoding != btf.Signed && b.Encoding != btf.Signed
	}
	return false
}

// coreValue is the value of a relocation on one side.
type coreValue struct {
	n         uint64
	unchecked bool
	size      uint32   // of the field, for byte offsets
	typ       btf.Type // of the field, for byte offsets
}

// value calculates one side; s is nil where the type has no counterpart.
func (r *relocator) value(kind coreKind, s *coreSpec) (coreValue, error) {
	switch kind {
	case coreFieldExists, coreTypeExists, coreTypeMatches, coreEnumvalExists:
		if s == nil {
			return coreValue{}, nil
		}
		return coreValue{n: 1}, nil
	case coreTypeIDTarget:
		if s == nil {
			return coreValue{}, nil
		}
		return r.typeID(s)
	case coreTypeSize:
		if s == nil {
			return coreValue{}, nil
		}
		n, err := sizeOf(s.root)
		return coreValue{n: n}, err
	}
	if s == nil {
		return coreValue{}, errPoison
	}
	if kind == coreEnumvalValue {
		return coreValue{n: s.enumValue}, nil
	}
	return s.fieldValue(kind, r.types.raw.Order)
}

// typeID is the id of a spec's type in the BTF it comes from. The local id is
// not compared with the instruction's: linking objects changes ids.
func (r *relocator) typeID(s *coreSpec) (coreValue, error) {
	from := r.types.spec
	if s.isTarget {
		from, _ = r.target.spec()
	}
	id, err := from.TypeID(s.root)
	if err != nil {
		return coreValue{}, fmt.Errorf("%w: %v", ErrBadBTF, err)
	}
	return coreValue{n: uint64(id), unchecked: true}, nil
}

func sizeOf(t btf.Type) (uint64, error) {
	n, err := btf.Sizeof(t)
	if err != nil || n < 0 {
		return 0, fmt.Errorf("%w: %v has no size", ErrBadBTF, t)
	}
	return uint64(n), nil
}

// patchCORE writes a result into the instruction at insns[0]
// (libbpf: bpf_core_patch_insn).
func patchCORE(insns []isa.Instruction, res coreResult) error {
	ins := &insns[0]
	mismatch := func(got any) error {
		return fmt.Errorf("%w: instruction has %v, the local type %d", ErrBadReloc, got, res.local)
	}
	class := ins.Op.Class()
	switch {
	case class.IsALU() && !ins.Op.UsesReg():
		if res.poison {
			break
		}
		if !res.unchecked && ins.Imm != int32(res.local) {
			return mismatch(ins.Imm)
		}
		ins.Imm = int32(res.target)
		return nil
	case class == isa.ClassLDX || class == isa.ClassST || class == isa.ClassSTX:
		if res.poison || res.badSize {
			break
		}
		if !res.unchecked && uint64(int64(ins.Off)) != res.local {
			return mismatch(ins.Off)
		}
		if res.target > 1<<15-1 {
			return fmt.Errorf("%w: offset %d does not fit an instruction", ErrNotSupported, res.target)
		}
		ins.Off = int16(res.target)
		return resize(ins, res)
	case ins.IsLoadImm64() && ins.Src == 0 && len(insns) > 1:
		if res.poison {
			break
		}
		if imm := isa.Imm64(insns, 0); !res.unchecked && imm != res.local {
			return mismatch(imm)
		}
		ins.Imm, insns[1].Imm = int32(res.target), int32(res.target>>32)
		return nil
	default:
		return fmt.Errorf("%w: opcode %#02x takes none", ErrBadReloc, uint8(ins.Op))
	}
	// A call of a helper that does not exist: the verifier refuses it by number
	// if the program can get here, and drops it if not.
	poison := isa.Instruction{Op: isa.Opcode(isa.ClassJMP) | isa.Call, Imm: poisonCORE}
	if ins.IsLoadImm64() {
		insns[1] = poison
	}
	*ins = poison
	return nil
}

// resize changes how many bytes a load or store moves when the field's size differs.
func resize(ins *isa.Instruction, res coreResult) error {
	if res.localSize == res.targetSize {
		return nil
	}
	width, ok := map[uint32]isa.Opcode{1: isa.B, 2: isa.H, 4: isa.W, 8: isa.DW}[res.targetSize]
	if !ok || uint32(ins.Op.Bytes()) != res.localSize {
		return fmt.Errorf("%w: access of %d bytes to a field of %d, in the target %d",
			ErrBadReloc, ins.Op.Bytes(), res.localSize, res.targetSize)
	}
	ins.Op = ins.Op.Mode() | width | isa.Opcode(ins.Op.Class())
	return nil
}
