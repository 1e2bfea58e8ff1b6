// Package explain says why the verifier refused a program, in words for people:
// what it required, what it knew, where it knew that from, and what to change.
package explain

import (
	"strings"

	"github.com/skep-bpf/skep/internal/verifier"
)

// Kind is a kind of refusal: what many messages of the verifier have in common.
// Each has a page in docs/errors.
type Kind struct {
	ID       string // "null-check", also the page's name
	Title    string
	Requires string // what the verifier wants, one or two sentences
	How      string // how people normally run into it
	Fix      string // what to do, in C
	// Reasons are the messages of this kind, before their values are filled in.
	// A kind without any is told from others by how it came about (refine.go).
	Reasons []string
}

// Page is the kind's page in the documentation.
func (k *Kind) Page() string { return "docs/errors/" + k.ID + ".md" }

// Kinds lists all kinds, those of one subject together.
func Kinds() []*Kind { return kinds }

// KindByID returns a kind by its name, or nil.
func KindByID(id string) *Kind {
	for _, k := range kinds {
		if k.ID == id {
			return k
		}
	}
	return nil
}

var kindOf = func() map[string]*Kind {
	m := map[string]*Kind{}
	for _, k := range kinds {
		for _, r := range k.Reasons {
			m[r] = k
		}
	}
	return m
}()

// KindOf returns the kind that a refusal's message has by itself, or nil if it has no row.
func KindOf(err *verifier.Error) *Kind {
	if strings.HasPrefix(err.Reason, verifier.Unsupported) {
		return KindByID(unsupported)
	}
	return kindOf[err.Reason]
}

const unsupported = "unsupported"

func join(lists ...[]*Kind) (all []*Kind) {
	for _, l := range lists {
		all = append(all, l...)
	}
	return all
}

var kinds = join(memoryKinds, numberKinds, stackKinds, callKinds, heldKinds, objectKinds, flowKinds, programKinds)
