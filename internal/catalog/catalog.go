// Package catalog holds the facts of BPF as rows: helpers, kfuncs, map types,
// program types and their context fields.
//
// A fact stands here once. The verifier reads signatures and access rules, the
// rewriter reads where a context field really lives, maps and helpers bind
// their Go functions to the rows by id, and the command line and the reference
// pages print them. Nothing here runs anything. The numbers are those of Linux
// 6.18's include/uapi/linux/bpf.h.
package catalog

//go:generate go run ./gendoc ../../docs/reference
