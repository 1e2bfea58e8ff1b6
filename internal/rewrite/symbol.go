package rewrite

import "github.com/skep-bpf/skep/isa"

// FuncName returns the name of function i as far as something tells it: its
// type, or the program's name for the first.
func (p *Program) FuncName(i int) string {
	if p.Facts != nil && i < len(p.Facts.Subprogs) {
		for _, f := range p.Source.Funcs {
			if f.Slot == p.Facts.Subprogs[i].Start {
				return f.Func.Name
			}
		}
	}
	if i == 0 {
		return p.Source.Name
	}
	return ""
}

// Symbol names function i in dumps, profiles and debuggers as the kernel does:
// bpf_prog_TAG_NAME. A subprogram whose name nothing tells is F.
func (p *Program) Symbol(i int) string {
	insns := p.Source.Insns
	if i > 0 && p.Facts != nil && i < len(p.Facts.Subprogs) {
		s := p.Facts.Subprogs[i]
		insns = insns[s.Start:s.End]
	}
	name := p.FuncName(i)
	if name == "" && i > 0 {
		name = "F"
	}
	symbol := "bpf_prog_" + isa.TagOf(insns).String()
	if name != "" {
		symbol += "_" + name
	}
	return symbol
}
