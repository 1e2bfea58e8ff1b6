package verifier

import (
	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/isa"
)

// progFacts is what the catalog's rows say of the program's type.
type progFacts struct {
	kind         *catalog.ProgKind
	privateStack bool // stacks of functions are apart: only each by itself is bounded
	printer      isa.Printer
	helpers      map[int32]*helperRow
}

// helperRow is the row of a helper as this program sees it.
type helperRow struct{ *catalog.Helper }

func (h *helperRow) mightSleep() bool { return h.Flags&catalog.MightSleep != 0 }
func (h *helperRow) changesPkt() bool { return h.Flags&catalog.ChangesPkt != 0 }

// args is the number of arguments.
func (h *helperRow) args() int {
	n := 0
	for n < len(h.Args) && h.Args[n].Type != catalog.ArgNone {
		n++
	}
	return n
}

func (e *env) loadFacts() *Error {
	e.facts.kind = catalog.ProgKindByType(e.p.Type)
	if e.facts.kind == nil {
		return e.silent(errno.EINVAL, "no such program type")
	}
	switch e.p.Type {
	case catalog.ProgKprobe, catalog.ProgTracepoint, catalog.ProgPerfEvent, catalog.ProgRawTracepoint:
		e.facts.privateStack = true
	case catalog.ProgTracing: // on trampolines that do not let programs recur (bpf_prog_check_recur)
		e.facts.privateStack = e.p.Attach != catalog.AttachTraceIter
	}
	if e.ext {
		e.facts.privateStack = false
	}
	e.facts.helpers = make(map[int32]*helperRow)
	e.facts.printer.Dialect = isa.Kernel
	e.facts.printer.Names.Helper = func(id int32) string {
		if h := catalog.HelperByID(catalog.HelperID(id)); h != nil {
			return "bpf_" + h.Name
		}
		return ""
	}
	e.facts.printer.Names.Kfunc = func(id int32, at int16) string {
		if k := e.kfuncs[kfuncKey{id, at}]; k != nil {
			return k.name
		}
		return ""
	}
	return nil
}

// helperRow returns the row of a helper the program may call, or nil.
func (e *env) helperRow(id int32) *helperRow {
	if h, ok := e.facts.helpers[id]; ok {
		return h
	}
	var h *helperRow
	row := e.facts.kind.Helper(catalog.HelperID(id), e.p.Attach)
	if e.ops != nil {
		row = e.ops.helper(catalog.HelperID(id), row)
	}
	if row != nil {
		h = &helperRow{row}
		if !e.priv && row.Needs > catalog.NeedBPF || !e.capable && row.Needs > catalog.NeedNothing {
			h = nil
		}
	}
	e.facts.helpers[id] = h
	return h
}

func (e *env) disasm(at int) string {
	b, _ := e.facts.printer.Append(nil, e.insns, at)
	return string(b)
}

const fnTailCall = int32(catalog.FnTailCall)

func isSyncCallbackHelper(id int32) bool {
	switch catalog.HelperID(id) {
	case catalog.FnForEachMapElem, catalog.FnFindVma, catalog.FnLoop, catalog.FnUserRingBufDrain:
		return true
	}
	return false
}

func isAsyncCallbackHelper(id int32) bool {
	return catalog.HelperID(id) == catalog.FnTimerSetCallback
}

func isXSKMap(m *catalog.MapDef) bool { return m.Type == catalog.MapXSKMap }

func isSockMap(m *catalog.MapDef) bool {
	return m.Type == catalog.MapSockMap || m.Type == catalog.MapSockHash
}

func mapHasTimers(m *catalog.MapDef) bool {
	return findSpecial(m.Special, catalog.SpecialTimer) != nil ||
		findSpecial(m.Special, catalog.SpecialWorkqueue) != nil ||
		findSpecial(m.Special, catalog.SpecialTaskWork) != nil
}
