// Package unwrap lets skep's other public packages reach what a public handle
// stands for, without the handle showing it to everyone.
package unwrap

import "github.com/skep-bpf/skep/internal/maps"

// Map returns the map behind a *skep.Map, given as any, with a reference of the
// caller's own. A handle that was closed gives skep.ErrClosed. The root package sets it.
var Map func(m any) (maps.Map, error)
