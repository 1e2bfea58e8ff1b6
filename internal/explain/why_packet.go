package explain

import (
	"fmt"

	"github.com/skep-bpf/skep/internal/verifier"
	"github.com/skep-bpf/skep/isa"
)

// packetCheck is a comparison of a packet pointer with data_end on the path.
type packetCheck struct {
	at    int
	ptr   *verifier.Value // the pointer compared
	reach int             // how far its object is proven, from where its fixed offset counts; < 0: it ends before
}

// packetChecks are all on the path, oldest first.
func (s *story) packetChecks() (list []packetCheck) {
	for j := 0; j < s.now; j++ {
		ins := s.insn(j)
		if !isJump(ins) || !ins.Op.UsesReg() || s.depth(j) != s.depth(j+1) {
			continue
		}
		d, r := spot{frame: s.depth(j), index: int(ins.Dst)}, spot{frame: s.depth(j), index: int(ins.Src)}
		a, b := s.value(j, d), s.value(j, r)
		if a == nil || b == nil {
			continue
		}
		switch {
		case a.Kind() == "pkt" && b.Kind() == "pkt_end":
		case a.Kind() == "pkt_end" && b.Kind() == "pkt":
			a, d = b, r
		default:
			continue
		}
		list = append(list, packetCheck{at: j, ptr: a, reach: s.value(j+1, d).Range()})
	}
	return list
}

const maxPacketOff = 0xffff

// whyPacket: the packet may be shorter than what is read.
func (s *story) whyPacket() {
	n := s.blamed()
	v := s.reg(n)
	off, size, ok := s.accessed()
	if v == nil || !ok {
		s.whyAny()
		return
	}
	need := off + size
	name := s.nameOf(n)
	s.know("%s is %s", s.called(n), s.what(v))
	unit := "from the start of the packet"
	if !v.Fixed() || v.ID() != 0 {
		unit = "from where its fixed offset counts"
	}
	s.know("%s accessed at offset %d %s, and %s proven to be there", bytesAre(size), off, unit, proven(v.Range()))
	var same, other *packetCheck
	for _, c := range s.packetChecks() {
		if c.ptr.ID() == v.ID() {
			same = &c
		} else {
			other = &c
		}
	}
	end := "(void *)(" + orName(name, "header") + " + 1)"
	switch {
	case same != nil && same.reach < 0:
		s.note(same.at, "on this path the packet is known to end before what was compared with data_end: the comparison is the wrong way round")
		s.fixAt(s.placeOf(same.at), "", "Turn the comparison round: use the packet only where the end of what is read is not beyond data_end (end <= data_end)")
	case same != nil && v.Range() > 0:
		s.note(same.at, "this comparison proves that %s are there", bytes(v.Range()))
		s.note(s.now, "this reaches up to byte %d: %d more", need, need-v.Range())
		s.fixAt(s.placeOf(same.at), "", "Let the comparison cover %d bytes instead of %d: compare the end of everything that is read with data_end", need, v.Range())
	case same != nil && (tooFar(v) || tooFar(same.ptr)):
		sp, at, _ := s.addend(n)
		s.noteNumber(sp, at)
		s.note(same.at, "this comparison proves nothing: the pointer may be more than %d bytes into the packet, where the verifier gives up", maxPacketOff)
		_, hi := v.Unsigned()
		inLoop := ""
		if w := s.value(at, sp); w != nil {
			if _, most := w.Unsigned(); most < hi {
				inLoop = "; where a loop moves the pointer, count the offset in a variable of its own and leave when it is too large"
			}
		}
		s.boundFix(sp, at, "", fmt.Sprintf("Bound the offset before it is added to the pointer (it may be %d now; packets have at most %d bytes)%s", hi, maxPacketOff, inLoop))
	case same != nil:
		s.note(same.at, "this comparison is of the pointer itself and proves nothing of the bytes behind it")
		s.fixAt(s.placeOf(same.at), fmt.Sprintf("if (%s > data_end)\n\t%s", end, s.leave()), "Compare the end of what is read, not its start, with data_end")
	default:
		if other != nil {
			s.note(other.at, "this comparison with data_end is of another pointer (%s): it proves nothing of this one", s.what(other.ptr))
		}
		if from := s.lastMove(n); from >= 0 {
			s.note(from, "the pointer is moved by %s: from here on it needs a check of its own", s.moveWords(from))
		} else {
			s.trace(s.now, s.here(n))
		}
		s.note(s.now, "%s accessed", bytesAre(size))
		code := fmt.Sprintf("if (%s > data_end)\n\t%s", end, s.leave())
		if name == "" {
			code = ""
		}
		s.fixBefore(s.x.At, code, "Before %s, compare the end of what is read through %s with data_end", s.x.At, orIt(name, "this pointer"))
	}
}

func orName(name, otherwise string) string {
	if name == "" {
		return otherwise
	}
	return name
}

func proven(n int) string {
	switch {
	case n <= 0:
		return "none of them is"
	case n == 1:
		return "only the first byte is"
	}
	return fmt.Sprintf("only the first %d bytes are", n)
}

// tooFar reports a variable offset that the verifier does not compare with data_end.
func tooFar(v *verifier.Value) bool {
	_, hi := v.Unsigned()
	return hi > maxPacketOff || hi+uint64(max(v.Off(), 0)) > maxPacketOff
}

// lastMove is the moment a variable was added to the pointer in register n, or -1.
func (s *story) lastMove(n int) int {
	for _, e := range s.lineage(s.now, s.here(n)) {
		if e.how == computed && e.hasOther {
			return e.at
		}
	}
	return -1
}

func (s *story) moveWords(at int) string {
	ins := s.insn(at)
	for _, r := range []isa.Register{ins.Src, ins.Dst} {
		if v := s.value(at, spot{frame: s.depth(at), index: int(r)}); v != nil && v.Scalar() {
			return number(v)
		}
	}
	return "a number"
}
