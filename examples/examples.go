// Package examples holds BPF programs in C beside the objects clang made of
// them, the captures they run on and the tests that assert what they do. One
// folder is one example; its README has the command to try.
package examples

//go:generate make
