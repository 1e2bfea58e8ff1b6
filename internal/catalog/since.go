package catalog

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/skep-bpf/skep/isa"
)

// KernelRelease is a release of Linux. Stable updates do not count: they bring no features.
type KernelRelease struct{ Major, Minor int }

// releases holds for each major number from 3 on the last minor number.
var releases = map[int]int{3: 19, 4: 20, 5: 19, 6: 18}

// OldestRelease and NewestRelease bound what the rows speak of: the first
// release that loads programs, and the one they were taken from.
var (
	OldestRelease = KernelRelease{3, 19}
	NewestRelease = KernelRelease{6, 18}
)

// ParseRelease reads "5.10", "v5.10" or "5.10.200-generic".
func ParseRelease(s string) (KernelRelease, error) {
	major, rest, ok := strings.Cut(strings.TrimPrefix(s, "v"), ".")
	if end := strings.IndexFunc(rest, func(r rune) bool { return r < '0' || r > '9' }); end >= 0 {
		rest = rest[:end]
	}
	ma, err1 := strconv.Atoi(major)
	mi, err2 := strconv.Atoi(rest)
	if !ok || err1 != nil || err2 != nil || ma < 0 || mi < 0 {
		return KernelRelease{}, fmt.Errorf("%q is no Linux release: such are 5.10, v6.1", s)
	}
	r := KernelRelease{ma, mi}
	if last, known := releases[ma]; known && mi > last {
		if ma == NewestRelease.Major {
			return r, fmt.Errorf("Linux %v: the newest release known is %v", r, NewestRelease)
		}
		return r, fmt.Errorf("there is no Linux %v: after %d.%d came %d.0", r, ma, last, ma+1)
	}
	if r.Compare(OldestRelease) < 0 || r.Compare(NewestRelease) > 0 {
		return r, fmt.Errorf("Linux %v: the releases known are %v to %v", r, OldestRelease, NewestRelease)
	}
	return r, nil
}

// Compare returns -1, 0 or 1 as r came before other, is it, or came after it.
func (r KernelRelease) Compare(other KernelRelease) int {
	return cmp.Or(cmp.Compare(r.Major, other.Major), cmp.Compare(r.Minor, other.Minor))
}

// String returns "5.10".
func (r KernelRelease) String() string { return fmt.Sprintf("%d.%d", r.Major, r.Minor) }

// Since is the first release of Linux that has something, and the commit in
// Linux's repository that brought it ("" where the release alone is known).
type Since struct{ Version, Commit string }

// Release returns the release as a number. The rows' versions are tested to be such.
func (s Since) Release() KernelRelease {
	major, minor, _ := strings.Cut(s.Version, ".")
	ma, _ := strconv.Atoi(major)
	mi, _ := strconv.Atoi(minor)
	return KernelRelease{ma, mi}
}

// later returns the later one of two.
func later(a, b Since) Since {
	if b.Version != "" && b.Release().Compare(a.Release()) > 0 {
		return b
	}
	return a
}

// SinceFor says since when programs of a type and expected attach type may call
// the helper: not before there was both, and later where a row of helperGrants says so.
func (h *Helper) SinceFor(prog ProgType, attach AttachType) Since {
	s := Since{h.Since, helperCommits[h.Name]}
	for _, g := range helperGrants {
		if g.helper == h.ID && g.progs.Has(prog) && (g.attach == 0 || g.attach.Has(attach)) {
			return later(s, g.since)
		}
	}
	return s
}

// SinceFor says since when programs of a type may call the kernel function.
func (k *Kfunc) SinceFor(prog ProgType) Since {
	s := Since{k.Since, kfuncCommits[k.Name]}
	for _, g := range kfuncGrants {
		if g.progs.Has(prog) {
			s = later(s, g.since)
		}
	}
	return s
}

// SinceFirst says since when there are such maps.
func (k *MapKind) SinceFirst() Since { return Since{k.Since, mapCommits[k.Name]} }

// SinceFirst says since when there are such programs.
func (k *ProgKind) SinceFirst() Since { return Since{k.Since, progCommits[k.Name]} }

// SinceFirst says since when there is the attach type.
func (t AttachType) SinceFirst() Since {
	if int64(t) < int64(len(attachSince)) {
		return attachSince[t]
	}
	return Since{}
}

// FieldSince says since when programs of a type may access the field of their context.
func FieldSince(ctx *Context, f *Field, prog ProgType) Since {
	t, ok := fieldSince[ctx.Name]
	if !ok {
		return Since{}
	}
	s := t.first
	for _, row := range t.later {
		if slices.Contains(row.fields, f.Name) && (row.progs == 0 || row.progs.Has(prog)) {
			s = later(s, row.since)
		}
	}
	return s
}

// SockFieldSince says since when the field can be read through a pointer of the given kind.
func SockFieldSince(kind FieldKind, f *Field) Since {
	switch kind {
	case FieldTCPSock:
		return FieldSince(&bpfTCPSock, f, ProgUnspec)
	case FieldXDPSock:
		return FieldSince(&bpfXDPSock, f, ProgUnspec)
	}
	return later(Since{"5.1", "46f8bc92758c"}, FieldSince(&bpfSock, f, ProgUnspec))
}

// MapFlagSince says since when a map type takes a flag (one bit of map_flags).
func MapFlagSince(t MapType, flag uint32) Since {
	var s Since
	for _, row := range mapFlagSince {
		if row.flag == flag && (row.maps == 0 || row.maps.Has(t)) {
			s = later(s, row.since)
		}
	}
	return s
}

// LoadFlagSince returns the uapi name of a flag of PROG_LOAD (one bit of
// prog_flags), and since when it is taken; "" for bits that are no flag.
func LoadFlagSince(flag uint32) (name string, since Since) {
	for _, row := range loadFlagSince {
		if row.flag == flag {
			return row.name, row.since
		}
	}
	return "", Since{}
}

// SpecialSince says since when map values may hold such a field.
func SpecialSince(k SpecialKind) Since {
	if int(k) < len(specialSince) {
		return specialSince[k]
	}
	return Since{}
}

// InsnSince says since when the verifier takes the form of an instruction, and
// what came then: "32-bit conditional jumps (cpu v3)".
func InsnSince(r *isa.Row) (since Since, doc string) {
	for _, row := range insnSince {
		if slices.ContainsFunc(row.names, func(prefix string) bool { return strings.HasPrefix(r.Name, prefix) }) {
			return row.since, row.doc
		}
	}
	return Since{"3.18", "bd4cf0ed331a"}, "the first instruction set"
}

// SinceKind groups rows of [SinceRows].
type SinceKind string

// Kinds of rows, in the order of [SinceRows].
const (
	SinceProgram     SinceKind = "program type"
	SinceAttach      SinceKind = "attach type"
	SinceMap         SinceKind = "map type"
	SinceMapFlag     SinceKind = "map flag"
	SinceLoadFlag    SinceKind = "load flag"
	SinceSpecial     SinceKind = "field of map values"
	SinceInstruction SinceKind = "instruction"
	SinceAbility     SinceKind = "verifier"
	SinceBTF         SinceKind = "BTF"
	SinceHelper      SinceKind = "helper"
	SinceKfunc       SinceKind = "kernel function"
	SinceField       SinceKind = "context field"
)

// SinceRow is one fact of this file's tables, for printing.
type SinceRow struct {
	Kind SinceKind
	Name string
	For  string // program or map types that got it later than others; "": all
	Since
}

// SinceRows returns all facts, by kind.
func SinceRows() []SinceRow {
	var rows []SinceRow
	add := func(kind SinceKind, name, only string, s Since) {
		rows = append(rows, SinceRow{kind, name, only, s})
	}
	for i := range ProgKinds() {
		k := &ProgKinds()[i]
		add(SinceProgram, k.Name, "", k.SinceFirst())
	}
	for t := range attachSince {
		add(SinceAttach, AttachType(t).String(), "", attachSince[t])
	}
	for i := range MapKinds() {
		k := &MapKinds()[i]
		add(SinceMap, k.Name, "", k.SinceFirst())
	}
	for _, r := range mapFlagSince {
		for name := range MapFlagNames(r.flag) {
			add(SinceMapFlag, name, mapSetNames(r.maps), r.since)
		}
	}
	for _, r := range loadFlagSince {
		add(SinceLoadFlag, r.name, "", r.since)
	}
	for k := SpecialSpinLock; int(k) < len(specialSince); k++ {
		add(SinceSpecial, k.String(), "", specialSince[k])
	}
	for _, r := range insnSince {
		add(SinceInstruction, r.doc, "", r.since)
	}
	for i := range abilities {
		add(SinceAbility, abilities[i].Name, "", abilities[i].Since)
	}
	for _, r := range btfSince {
		add(SinceBTF, r.name, "", r.since)
	}
	for id := FnUnspec + 1; id <= LastHelper; id++ {
		h := HelperByID(id)
		add(SinceHelper, id.String(), "", Since{h.Since, helperCommits[h.Name]})
		for _, g := range helperGrants {
			if g.helper == id {
				add(SinceHelper, id.String(), progSetNames(g.progs), g.since)
			}
		}
	}
	for i := range kfuncs {
		add(SinceKfunc, kfuncs[i].Name, "", Since{kfuncs[i].Since, kfuncCommits[kfuncs[i].Name]})
	}
	for _, g := range kfuncGrants {
		add(SinceKfunc, "any", progSetNames(g.progs), g.since)
	}
	for _, c := range fieldTables {
		t := fieldSince[c]
		add(SinceField, c, "", t.first)
		for _, r := range t.later {
			for _, f := range r.fields {
				add(SinceField, c+"."+f, progSetNames(r.progs), r.since)
			}
		}
	}
	return rows
}

func progSetNames(set ProgSet) string {
	var names []string
	for i := range ProgKinds() {
		if k := &ProgKinds()[i]; set.Has(k.Type) {
			names = append(names, k.Name)
		}
	}
	return strings.Join(names, ", ")
}

func mapSetNames(set MapSet) string {
	var names []string
	for i := range MapKinds() {
		if k := &MapKinds()[i]; set.Has(k.Type) {
			names = append(names, k.Name)
		}
	}
	return strings.Join(names, ", ")
}
