package verify

import (
	"bytes"
	"fmt"

	"github.com/skep-bpf/skep/internal/cli/engine"
	"github.com/skep-bpf/skep/internal/cli/ui"
	"github.com/skep-bpf/skep/internal/page"
	"github.com/skep-bpf/skep/verify"
)

// writePage verifies the object's programs, recording how, and writes a page about them.
func writePage(o *Options) error {
	if o.Engine != engine.Skep {
		return ui.Usagef("--html shows what skep's own verifier knows: not with --engine %s", o.Engine)
	}
	if o.HTML == "-" {
		return ui.Usagef("--html -: the page goes to a file")
	}
	opts := engine.Options{CPUs: 1}
	img, err := opts.LoadImage(o.Object, o.BTF)
	if err != nil {
		return err
	}
	progs, err := choose(img, o)
	if err != nil {
		return err
	}
	r, err := verify.Image(img, &verify.Options{
		Programs: o.Progs, KernelBTF: opts.KernelBTF, Unprivileged: o.Unpriv, Trace: page.Steps(len(progs)), Explain: true,
	})
	if err != nil {
		return fmt.Errorf("%s: %w", o.Object, err)
	}
	var b bytes.Buffer
	if err := page.Write(&b, img, r); err != nil {
		return fmt.Errorf("%s: %w", o.Object, err)
	}
	return ui.WriteFile(o.HTML, b.Bytes())
}
