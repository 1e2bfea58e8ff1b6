// Package unwrap lets skep's other public packages reach what a public handle
// stands for, without the handle showing it to everyone.
package unwrap

import (
	"github.com/skep-bpf/skep/internal/afxdp"
	"github.com/skep-bpf/skep/internal/maps"
	"github.com/skep-bpf/skep/internal/run"
)

// Map returns the map behind a *skep.Map, given as any, with a reference of the
// caller's own. A handle that was closed gives skep.ErrClosed. The root package sets it.
var Map func(m any) (maps.Map, error)

// Machine returns a *skep.Machine, as any, of a machine that stays the caller's to
// close. checked says that it runs programs in checked mode. The root package sets it.
var Machine func(m *run.Machine, checked bool) any

// Program returns a *skep.Program, as any, of a program of such a machine. It
// takes over a reference to p. The root package sets it.
var Program func(m any, p *run.Program) any

// Run returns the program behind a *skep.Program, given as any, without a
// reference of its own. The root package sets it.
var Run func(p any) *run.Program

// Handle returns a *skep.Map, as any, on a map of such a machine. It takes over a
// handle of the caller's. The root package sets it.
var Handle func(m any, mp maps.Map) any

// XSKs returns the AF_XDP sockets of a *skep.Machine, given as any. The root package sets it.
var XSKs func(m any) *maps.Sockets

// Netdev returns what AF_XDP sockets are bound to of a *device.Device, given as
// any, and the sockets of its machine. Package device sets it.
var Netdev func(d any) (afxdp.Netdev, *maps.Sockets)
