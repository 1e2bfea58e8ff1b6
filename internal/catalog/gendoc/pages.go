package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/skep-bpf/skep/internal/catalog"
)

// pages are the reference pages by file name.
var pages = map[string]func() string{
	"helpers.md":       helpers,
	"kfuncs.md":        kfuncs,
	"program-types.md": programTypes,
	"map-types.md":     mapTypes,
	"struct-ops.md":    structOps,
	"since.md":         since,
}

const generated = "<!-- Made by internal/catalog/gendoc from the catalog's rows. Do not edit. -->\n\n"

// page collects one page's text.
type page struct{ strings.Builder }

func (p *page) line(format string, args ...any) { fmt.Fprintf(p, format+"\n", args...) }

func helpers() string {
	var p page
	p.WriteString(generated)
	p.line("# Helper functions\n")
	p.line("The helpers of Linux 6.18, as the verifier knows them. Where program types see")
	p.line("different prototypes under one number, each is listed.")
	for id := catalog.HelperID(1); catalog.HelperByID(id) != nil; id++ {
		rows := catalog.HelperVariants(id)
		p.line("\n## %v\n", id)
		p.line("%s Number %d, since Linux %s.", rows[0].Doc, int32(id), rows[0].Since)
		for i := range rows {
			p.prototype(&rows[i])
		}
	}
	return p.String()
}

func (p *page) prototype(h *catalog.Helper) {
	var args []string
	for _, a := range h.Args {
		if a.Type == catalog.ArgNone {
			break
		}
		text := a.Type.String()
		switch {
		case a.BTF != "":
			text = strings.Replace(text, "kernel pointer", "struct "+a.BTF, 1)
		case a.Size != 0:
			text = fmt.Sprintf("%d bytes of %s", a.Size, text)
		}
		args = append(args, text)
	}
	ret := h.Ret.String()
	if h.RetBTF != "" {
		ret = strings.Replace(ret, "kernel pointer", "struct "+h.RetBTF, 1)
	}
	p.line("\n    %v(%s) → %s\n", h.ID, strings.Join(args, ", "), ret)
	p.line("- Program types: %s", progNames(h.Progs))
	if h.Attach != 0 {
		p.line("- Attach types: %s", attachNames(h.Attach))
	}
	if h.Maps != 0 {
		p.line("- Map types: %s", mapNames(h.Maps))
	}
	if h.Needs != catalog.NeedNothing {
		p.line("- Needs %v", h.Needs)
	}
	if words := h.Flags.Words(); words != nil {
		p.line("- %s", strings.Join(words, "; "))
	}
}

func kfuncs() string {
	var p page
	p.WriteString(generated)
	p.line("# Kernel functions\n")
	p.line("The kernel functions of Linux 6.18 that programs may call by BTF id (kfuncs). Their")
	p.line("prototypes are in the kernel's BTF.")
	for _, k := range catalog.Kfuncs() {
		p.line("\n## %s\n", k.Name)
		p.line("%s Since Linux %s.\n", k.Doc, k.Since)
		if k.Progs == 0 {
			p.line("- Program types: all")
		} else {
			p.line("- Program types: %s", progNames(k.Progs))
		}
		if k.Attach != 0 {
			p.line("- Attach types: %s", attachNames(k.Attach))
		}
		if k.Ops != nil {
			p.line("- Only in members: %s", strings.Join(k.Ops, ", "))
		}
		if words := k.Flags.Words(); words != nil {
			p.line("- %s", strings.Join(words, "; "))
		}
	}
	return p.String()
}

func structOps() string {
	var p page
	p.WriteString(generated)
	p.line("# Kernel structures that programs implement\n")
	p.line("The structures of function pointers whose members programs of type struct_ops implement.")
	p.line("Their members and arguments are in the kernel's BTF. Structures without a row here are")
	p.line("taken too: nothing that their arguments point to can be written.")
	for _, s := range catalog.StructOpsRows() {
		p.line("\n## %s\n", s.Name)
		p.line("%s Since Linux %s.\n", s.Doc, s.Since)
		p.line("- Members: %s", orElse(s.Members, "every function pointer"))
		if s.OnlySleepable {
			p.line("- Sleepable: %s", orElse(s.Sleepable, "none"))
		} else {
			p.line("- Sleepable: all")
		}
		switch {
		case s.NoHelpers:
			p.line("- Helpers: none")
		default:
			names := []string{"the base set"}
			for _, id := range s.Helpers {
				if not := s.NotIn[id]; not != "" {
					names = append(names, fmt.Sprintf("%v (not in %s)", id, not))
				} else {
					names = append(names, id.String())
				}
			}
			p.line("- Helpers: %s", strings.Join(names, ", "))
		}
		var fields []string
		for _, f := range s.Writes {
			fields = append(fields, f.Struct+"."+f.Path)
		}
		p.line("- May write: %s", orElse(fields, "nothing"))
	}
	return p.String()
}

func orElse(words []string, none string) string {
	if len(words) == 0 {
		return none
	}
	return strings.Join(words, ", ")
}

func progNames(set catalog.ProgSet) string {
	var in, out []string
	for _, k := range catalog.ProgKinds() {
		if set.Has(k.Type) {
			in = append(in, k.Name)
		} else {
			out = append(out, k.Name)
		}
	}
	if len(out) < len(in) {
		return "all but " + strings.Join(out, ", ")
	}
	return strings.Join(in, ", ")
}

func attachNames(set catalog.AttachSet) string {
	var in, out []string
	for a := catalog.AttachType(0); a.String() != "unknown"; a++ {
		if set.Has(a) {
			in = append(in, a.String())
		} else {
			out = append(out, a.String())
		}
	}
	if len(out) < len(in) {
		return "all but " + strings.Join(out, ", ")
	}
	return strings.Join(in, ", ")
}

func mapNames(set catalog.MapSet) string {
	var in []string
	for _, m := range catalog.MapKinds() {
		if set.Has(m.Type) {
			in = append(in, m.Name)
		}
	}
	return strings.Join(in, ", ")
}

var progFlagNames = []struct {
	flag catalog.ProgFlag
	text string
}{
	{catalog.LDAbs, "legacy packet loads (LD_ABS, LD_IND)"},
	{catalog.PktArg, "packet memory as helper argument"},
	{catalog.PktWrite, "direct packet writes"},
	{catalog.Sleepable, "may be sleepable"},
	{catalog.Unpriv, "without privileges where the system allows it"},
	{catalog.NetAdmin, "needs CAP_NET_ADMIN"},
	{catalog.Perfmon, "needs CAP_PERFMON"},
	{catalog.AttachBTF, "attaches to a BTF type named at load time"},
}

func programTypes() string {
	var p page
	p.WriteString(generated)
	p.line("# Program types\n")
	p.line("The program types of Linux 6.18: how an ELF section chooses them, what their")
	p.line("context holds, what they may return, and which helpers they may call.")
	for i := range catalog.ProgKinds() {
		k := &catalog.ProgKinds()[i]
		p.line("\n## %s\n", k.Name)
		p.line("%s Number %d, since Linux %s.\n", k.Doc, k.Type, k.Since)
		p.sections(k)
		var said []string
		for _, f := range progFlagNames {
			if k.Flags&f.flag != 0 {
				said = append(said, f.text)
			}
		}
		if said != nil {
			p.line("- %s", strings.Join(said, "; "))
		}
		for _, r := range k.Returns {
			where := ""
			if r.Attach != 0 {
				where = " (" + attachNames(r.Attach) + ")"
			}
			p.line("- Returns %d to %d%s", r.Range.Min, r.Range.Max, where)
		}
		p.context(k)
		p.line("\nHelpers: %s.", helpersOf(k))
	}
	return p.String()
}

func (p *page) sections(k *catalog.ProgKind) {
	var names []string
	for _, s := range k.Sections {
		name := s.Name
		if s.Extras {
			name += "[/…]"
		}
		names = append(names, "`"+name+"`")
	}
	p.line("- Sections: %s", strings.Join(names, ", "))
}

func (p *page) context(k *catalog.ProgKind) {
	if k.Ctx.Typed {
		p.line("\nContext: the arguments of what the program is attached to, 8 bytes each.")
		return
	}
	p.line("\nContext: `%s`, %d bytes.\n", k.Ctx.Name, k.Ctx.Size)
	p.line("| Offset | Size | Field | Access |")
	p.line("|-------:|-----:|-------|--------|")
	for _, f := range k.Ctx.Fields {
		access := ""
		if f.Read.Has(k.Type) {
			access += "r"
		}
		if f.Write.Has(k.Type) {
			access += "w"
		}
		if access == "" {
			continue
		}
		if f.Narrow != 0 && f.Narrow < max(f.Elem, f.Size) {
			access += ", narrow"
		}
		if f.Wide {
			access += ", wide"
		}
		if at := f.ReadAt | f.WriteAt; at != 0 {
			access += " (" + attachNames(at) + ")"
		}
		p.line("| %d | %d | %s | %s |", f.Off, f.Size, f.Name, access)
	}
}

// helpersOf lists the helpers a type may call at one of its attach types at least.
func helpersOf(k *catalog.ProgKind) string {
	var names []string
	for id := catalog.HelperID(1); catalog.HelperByID(id) != nil; id++ {
		if slices.ContainsFunc(catalog.HelperVariants(id), func(h catalog.Helper) bool { return h.Progs.Has(k.Type) }) {
			names = append(names, catalog.HelperByID(id).Name)
		}
	}
	if names == nil {
		return "those of the program it extends"
	}
	return strings.Join(names, ", ")
}

var mapTraitNames = []struct {
	trait catalog.MapTrait
	text  string
}{
	{catalog.PerCPU, "a value per CPU"},
	{catalog.Inner, "may be the inner map of a map of maps"},
	{catalog.DirectValue, "values addressable at load time"},
	{catalog.ForEach, "can be walked by bpf_for_each_map_elem"},
	{catalog.SleepableProgs, "usable by sleepable programs"},
	{catalog.NeedsBTF, "must be created with BTF types"},
}

func mapTypes() string {
	var p page
	p.WriteString(generated)
	p.line("# Map types\n")
	p.line("The map types of Linux 6.18. Sizes are in bytes.")
	for i := range catalog.MapKinds() {
		m := &catalog.MapKinds()[i]
		p.line("\n## %s\n", m.Name)
		p.line("%s Number %d, since Linux %s.\n", m.Doc, m.Type, m.Since)
		p.line("- Key size: %s", rule(m.KeySize))
		p.line("- Value size: %s", rule(m.ValueSize))
		p.line("- max_entries: %s", rule(m.MaxEntries))
		if m.Flags != 0 {
			p.line("- Flags: %s", strings.Join(slices.Collect(catalog.MapFlagNames(m.Flags)), ", "))
		}
		if m.MustFlags != 0 {
			p.line("- Must have: %s", strings.Join(slices.Collect(catalog.MapFlagNames(m.MustFlags)), ", "))
		}
		p.line("- Operations: %s", strings.Join(slices.Collect(m.Ops.Names()), ", "))
		for _, t := range mapTraitNames {
			if m.Traits&t.trait != 0 {
				p.line("- %s", strings.ToUpper(t.text[:1])+t.text[1:])
			}
		}
		if m.Helpers != nil {
			var names []string
			for _, id := range m.Helpers {
				names = append(names, id.String())
			}
			p.line("- Helpers: %s only", strings.Join(names, ", "))
		}
	}
	return p.String()
}

// rule says a size rule in words.
func rule(r catalog.SizeRule) string {
	if r == (catalog.SizeRule{}) {
		return "0"
	}
	text := fmt.Sprintf("at least %d", r.Min)
	switch {
	case r.Max == r.Min:
		return fmt.Sprint(r.Min)
	case r.Max != 0:
		text = fmt.Sprintf("%d to %d", r.Min, r.Max)
	}
	if r.Multiple > 1 {
		text += fmt.Sprintf(", a multiple of %d", r.Multiple)
	}
	if r.Pow2 {
		text += ", a power of two"
	}
	return text
}

func since() string {
	var p page
	p.WriteString(generated)
	p.line("# Since when\n")
	p.line("What came with which release of Linux, and with which commit where that is sure: what")
	p.line("`skep verify --kernel` and package `verify` answer from. Releases are Linux's own; a")
	p.line("distribution's kernel may have more than its number says. Sources: the commits, bcc's")
	p.line("kernel-versions.md, docs.ebpf.io, the feature probes of cilium/ebpf. Kernel functions")
	p.line("without a commit have their release from Linux's sources.\n")
	p.line("Abilities of the verifier marked *likely* are such as programs may pass without, or need")
	p.line("more of than can be told: where one is missing the answer is \"likely\".")
	likely := map[string]*catalog.Ability{}
	for i := range catalog.Abilities() {
		a := &catalog.Abilities()[i]
		likely[a.Name] = a
	}
	var kind catalog.SinceKind
	for _, r := range catalog.SinceRows() {
		if r.Kind != kind {
			kind = r.Kind
			p.line("\n## %s%s\n", strings.ToUpper(string(kind[:1])), kind[1:])
			p.line("| | since | commit |\n|---|---|---|")
		}
		name := r.Name
		if r.For != "" {
			name += " (" + r.For + ")"
		}
		if a := likely[r.Name]; a != nil && kind == catalog.SinceAbility {
			name += ": " + a.Doc
			if a.Likely {
				name += " *Likely.*"
			}
		}
		commit := ""
		if r.Commit != "" {
			commit = "`" + r.Commit + "`"
		}
		p.line("| %s | %s | %s |", name, r.Version, commit)
	}
	return p.String()
}
