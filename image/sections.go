package image

import (
	"strings"

	"github.com/skep-bpf/skep/internal/catalog"
)

// classify derives what a program is from its section's name: by libbpf's
// rules, and where those know no such name by those of its time before 1.0,
// when the longest known prefix decided ("xdp_drop", "classifier/main").
func (p *Program) classify() {
	kind, row := catalog.ProgKindBySection(p.Section)
	if kind == nil {
		kind, row = kindByPrefix(p.Section)
	}
	if kind == nil {
		return
	}
	p.Type, p.Attach = kind.Type, row.Attach
	if row.Sleepable {
		p.Flags |= catalog.LoadSleepable
	}
	if row.Frags {
		p.Flags |= catalog.LoadXDPHasFrags
	}
	if row.Extras && p.Type != catalog.ProgStructOps { // whose maps say what they implement
		_, p.AttachTo, _ = strings.Cut(p.Section, row.Name+"/")
	}
}

func kindByPrefix(section string) (*catalog.ProgKind, *catalog.Section) {
	var bestKind *catalog.ProgKind
	var best *catalog.Section
	kinds := catalog.ProgKinds()
	for i := range kinds {
		for j := range kinds[i].Sections {
			row := &kinds[i].Sections[j]
			if strings.HasPrefix(section, row.Name) && (best == nil || len(row.Name) > len(best.Name)) {
				bestKind, best = &kinds[i], row
			}
		}
	}
	return bestKind, best
}
