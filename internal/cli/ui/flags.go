package ui

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// SysctlUsage is the help of --sysctl, which the commands have that make a machine for others.
const SysctlUsage = "begin with a setting, `NAME=VALUE`: kernel.unprivileged_bpf_disabled, kernel.bpf_stats_enabled, net.core.bpf_jit_enable, net.core.bpf_jit_harden"

// OneOf defines a flag that takes one of some words. Its help shows them in
// the place of the value; anything else is refused with the words there are.
func OneOf(f *pflag.FlagSet, p *string, name, value, usage string, words ...string) {
	OneOfP(f, p, name, "", value, usage, words...)
}

// OneOfP is OneOf for a flag that has a letter too.
func OneOfP(f *pflag.FlagSet, p *string, name, letter, value, usage string, words ...string) {
	*p = value
	f.VarP(&oneOf{p, words}, name, letter, usage)
}

type oneOf struct {
	value *string
	words []string
}

func (o *oneOf) String() string { return *o.value }

func (o *oneOf) Type() string { return strings.Join(o.words, "|") }

func (o *oneOf) Set(text string) error {
	if !slices.Contains(o.words, text) {
		return fmt.Errorf("there are %s", And(o.words))
	}
	*o.value = text
	return nil
}

// And joins words as a sentence does: "a, b and c".
func And(words []string) string {
	n := len(words) - 1
	if n < 1 {
		return strings.Join(words, "")
	}
	return strings.Join(words[:n], ", ") + " and " + words[n]
}

// There says which names there are, for an error about one that is not: "there
// is lo", "there are lo and eth0".
func There(names []string) string {
	switch len(names) {
	case 0:
		return "there are none"
	case 1:
		return "there is " + names[0]
	}
	return "there are " + And(names)
}

// FlagError says what is wrong with a flag, in one line.
func FlagError(cmd *cobra.Command, err error) error {
	var bad *pflag.InvalidValueError
	if !errors.As(err, &bad) {
		return Usagef("%w: see %s --help", err, cmd.CommandPath())
	}
	cause := bad.Unwrap().Error()
	if errors.Is(err, strconv.ErrSyntax) || errors.Is(err, strconv.ErrRange) {
		cause = "it takes " + numbers(bad.GetFlag().Value.Type())
		if errors.Is(err, strconv.ErrRange) {
			cause = "too large or too small"
		}
	}
	return Usagef("--%s %s: %s", bad.GetFlag().Name, bad.GetValue(), cause)
}

// numbers says what values a flag of one of pflag's types takes.
func numbers(flagType string) string {
	switch {
	case strings.HasPrefix(flagType, "uint"):
		return "a whole number, 0 or more"
	case strings.HasPrefix(flagType, "int"):
		return "a whole number"
	case flagType == "bool":
		return "true or false"
	}
	return "a number"
}

// Args lets a command take from least to most arguments.
func Args(least, most int) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		switch {
		case len(args) > most:
			return fmt.Errorf("%q is too much", args[most])
		case len(args) < least:
			return errors.New("an argument is missing")
		}
		return nil
	}
}
