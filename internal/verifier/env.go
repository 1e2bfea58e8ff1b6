package verifier

import (
	"github.com/cilium/ebpf/btf"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/isa"
)

// env is one verification under way (struct bpf_verifier_env).
type env struct {
	pool
	logger
	ws *workspace // where pool, aux and explored come from

	p     *Program
	o     Options
	insns []isa.Instruction
	aux   []insnAux
	subs  []subprog
	facts progFacts

	priv    bool // CAP_BPF and CAP_PERFMON
	capable bool // CAP_BPF

	st       *state // the path being followed
	insn     int    // its next instruction
	prevInsn int    // the one before it
	hist     *histEntry
	pending  []pendingPath
	explored [][]*state // remembered states by hash of instruction and call site

	live liveness
	scc  sccs
	bt   backtrack
	ids  idMap

	idGen         uint32
	insnProcessed int
	visits        []uint32 // how often each slot was processed; nil unless asked for
	jmpsProcessed int
	prevInsnCount int // at the last remembered state
	prevJmps      int
	maxPerInsn    int
	totalStates   int
	peakStates    int
	remembered    int // states kept now: for pruning,
	dropped       int // only for paths that began there,
	backEdges     int // and as ends of paths in loops

	usedMaps  []*catalog.MapDef
	arena     *catalog.MapDef
	inner     map[*catalog.MapDef]bool // definitions of inner maps
	btfTypes  map[btf.Type]*btfType
	kernTypes map[string]*btfType
	special   map[*btfType][]catalog.SpecialField
	kfuncs    map[kfuncKey]*kfunc

	target *target    // what a typed program attaches to, else nil
	ops    *opsMember // of struct_ops programs
	ext    bool       // the program replaces a function of another; p has that one's type

	// patient: a state inside the call of a callback stands for another only if that
	// holds whatever the marks will be; hasty: it did not, with the marks there are now.
	patient, hasty bool

	endless       map[int32]bool // loops on paths that ended where they had been before
	exceptionCB   int            // subprogram, 0: none
	seenException bool
	accepted      bool
	changesPkt    bool
	exploreALU    bool // masks depend on numbers: states must agree on all of them
	recorder      *recorder
	trace         *tracer
	history       *historian
}

// insnAux is what is known of one instruction (struct bpf_insn_aux_data).
type insnAux struct {
	live  uint16 // registers read from here on before they are written
	scc   int32  // strongly connected component of the flow graph, 0: none
	kfunc *kfunc // of kfunc calls

	m      *catalog.MapDef // of map loads; of helper calls, the map seen
	mapOff uint32
	btfVar *reg // what a load of a kernel variable yields

	poisoned  bool // several maps seen
	keySeen   bool
	keyPoison bool
	key       uint32

	sanitised aluState // of arithmetic
	// A barrier keeps the processor from running this instruction by a wrong guess,
	// or what follows it before it is done.
	nospec, nospecResult bool

	loopBody  int32 // the function bpf_loop calls
	plainLoop bool  // on all paths that one, without flags: the kernel inlines the call

	prune, jmpPoint, force, callsCallback, iterNext bool

	ptrType         regType // of the pointer a load or store goes through
	seen            bool
	taken, fallthru bool   // which ways a conditional jump was followed
	trips           uint32 // how often a jump was followed, on all paths
	access          Access
}

// subprog is one function of the program (struct bpf_subprog_info).
type subprog struct {
	start, end int
	stackDepth int
	name       string
	fn         *btf.Func
	global     bool

	postorder   []int32
	hasTail     bool
	tailReach   bool
	hasLDAbs    bool
	isCB        bool
	isAsyncCB   bool
	isException bool
	changesPkt  bool
	mightSleep  bool
	called      bool
	verified    bool
	unreliable  bool
	retInt      bool // returns a scalar by BTF

	argsDone bool
	args     []subArg
}

// pendingPath is a branch to follow later.
type pendingPath struct {
	st         *state
	insn, prev int
	logPos     int
}

// Verify decides whether p may run. A refusal is an *Error.
func Verify(p *Program, o Options) (*Result, error) {
	record := o.States
	o.States = false
	r, err := verifyTraced(p, o)
	if err != nil || !record {
		return r, err
	}
	// Recording prunes less, and may come to what nobody would look at: the verdict
	// and all other facts are those without it.
	o.States, o.LogLevel, o.Visits = true, 0, false
	if recorded, err := verify(p, o, nil); err == nil {
		r.States = recorded.States
	}
	return r, nil
}

// verifyTraced verifies p a second time where the first showed that it takes
// more steps than the trace may have, now that it is known which are wanted.
func verifyTraced(p *Program, o Options) (*Result, error) {
	var tr *tracer
	if o.Trace > 0 {
		tr = newTracer(len(p.Insns), o.Trace, nil)
	}
	r, err := verify(p, o, tr)
	if tr != nil && tr.t.Processed > o.Trace {
		r, err = verify(p, o, newTracer(len(p.Insns), o.Trace, tr.choose()))
	}
	return r, err
}

func newEnv(p *Program, o Options) *env {
	if o.InsnLimit == 0 {
		o.InsnLimit = maxInsns
	}
	ext := p.Type == catalog.ProgExt
	p = asTarget(p)
	e := &env{p: p, ext: ext, o: o, insns: p.Insns, priv: !o.Unprivileged, capable: !o.Unprivileged || o.CapBPF}
	e.logger.init(e, o.LogLevel)
	return e
}

// explore verifies p with what prepare asks for; a second time, with patience,
// if states were compared too early.
func explore(p *Program, o Options, prepare func(*env)) (*env, *Error) {
	e := newEnv(p, o)
	prepare(e)
	err := e.verify()
	if e.hasty {
		e.done()
		e = newEnv(p, o)
		e.patient = true
		prepare(e)
		err = e.verify()
	}
	return e, err
}

func verify(p *Program, o Options, tr *tracer) (*Result, error) {
	var fresh tracer
	if tr != nil {
		fresh = *tr
	}
	e, err := explore(p, o, func(e *env) {
		if tr != nil {
			*tr = *newTracer(len(p.Insns), fresh.limit, fresh.plan)
			e.trace = tr
		}
		if o.States {
			e.recorder = newRecorder(len(p.Insns))
		}
	})
	defer e.done()
	e.accepted = err == nil
	e.logStats()
	var trace *Trace
	if tr != nil {
		trace = tr.finish(e, err != nil)
	}
	if err != nil {
		e.explain(err)
		err.Trace = trace
		return nil, err
	}
	r := e.result()
	r.Trace = trace
	return r, nil
}

// verify runs the stages of bpf_check, in its order: what is wrong in several
// ways is refused for the same reason as there.
func (e *env) verify() *Error {
	e.insn = -1
	if n := len(e.insns); n == 0 || n > maxInsns || (!e.capable && n > 4096) {
		return e.silent(errno.E2BIG, "the program has no instructions, or more than may be loaded")
	}
	e.takeWorkspace()
	if e.o.Visits {
		e.visits = make([]uint32, len(e.insns))
	}
	stages := []func() *Error{
		e.loadFacts,
		e.useBound,
		e.findSubprogs,
		e.checkSubprogs,
		e.checkFuncInfo,
		e.resolveLoads,
		e.checkCFG,
		e.checkAttach,
		e.computeSCCs,
		e.computeLiveRegs,
		e.checkMain,
		e.checkGlobals,
		e.checkStackDepths,
		e.checkTailCallMaps,
	}
	for _, stage := range stages {
		if err := stage(); err != nil {
			return err
		}
	}
	return nil
}

// explain completes a refusal with what is known where it happened.
func (e *env) explain(err *Error) {
	if err.Slot < 0 && e.insn >= 0 && e.st != nil {
		err.Slot = e.insn
	}
	if err.Slot >= 0 {
		err.Line = e.lineAt(err.Slot)
	}
	if e.st != nil {
		err.State = e.stateLine(e.st.frame())
		for h := e.st; h != nil; h = h.parent {
			for n := h.hist; n != nil && len(err.Path) < 4096; n = n.prev {
				err.Path = append(err.Path, int(n.idx))
			}
		}
		for i, j := 0, len(err.Path)-1; i < j; i, j = i+1, j-1 {
			err.Path[i], err.Path[j] = err.Path[j], err.Path[i]
		}
	}
	err.Log, err.LogMost = e.logger.String(), max(e.most, e.pos())
	err.Stats, err.Visits = e.figures(), e.visits
}

func (e *env) checkMain() *Error { return e.checkFunc(0) }

// checkGlobals verifies the global functions that something calls, each on its
// own, until no new call appears (do_check_subprogs).
func (e *env) checkGlobals() *Error {
	if e.exceptionCB > 0 {
		e.subs[e.exceptionCB].called = true
	}
	for again := true; again; {
		again = false
		for i := 1; i < len(e.subs); i++ {
			s := &e.subs[i]
			if !s.global || !s.called || s.verified {
				continue
			}
			if err := e.checkFunc(i); err != nil {
				return err
			}
			if e.level12 {
				e.logf("Func#%d ('%s') is safe for any args that match its prototype\n", i, s.name)
			}
			s.verified, again = true, true
		}
	}
	return nil
}

// checkFunc verifies the main program or one global function by itself (do_check_common).
func (e *env) checkFunc(sub int) *Error {
	e.prevLine = nil
	for i := range e.explored {
		e.explored[i] = e.explored[i][:0]
	}
	e.pool.bytes = 0
	e.remembered, e.dropped, e.backEdges = 0, 0, 0
	e.live.reset()
	e.scc.reset()
	st := e.newState()
	st.branches = 1
	st.frames[0] = e.newFrame()
	e.initFrame(st.frames[0], noCallSite, 0, sub)
	st.first, st.last = int32(e.subs[sub].start), -1
	e.st = st
	e.insn = e.subs[sub].start
	if e.trace != nil {
		e.trace.begin(e.insnProcessed)
	}
	if err := e.initArgs(sub); err != nil {
		return err
	}
	e.pending = e.pending[:0]
	err := e.run()
	if err == nil && !e.level2 {
		e.logger.truncate(0)
	}
	return err
}

func (e *env) initFrame(f *frame, callSite, no, sub int) {
	f.callSite, f.no, f.subprog = int32(callSite), int32(no), int32(sub)
	for i := range f.regs {
		e.markNotInit(&f.regs[i])
	}
	fp := &f.regs[isa.RFP]
	fp.setPtr(ptrToStack)
	fp.frame = uint8(no)
	e.scratchAll()
}

// markUnknown makes r an unknown number. Those without CAP_BPF track all numbers precisely.
func (e *env) markUnknown(r *reg) {
	r.setUnknown()
	r.precise = !e.capable
}

func (e *env) markNotInit(r *reg) {
	r.setNotInit()
	r.precise = !e.capable
}

func (e *env) markZero(r *reg) {
	r.setConst(0)
	r.precise = !e.capable
}

// markInvalid takes a pointer away that no longer points to what it did.
func (e *env) markInvalid(r *reg) {
	if e.priv {
		e.markUnknown(r)
	} else {
		e.markNotInit(r)
	}
}

func (e *env) newID() uint32 {
	e.idGen++
	return e.idGen
}

func (e *env) regs() *[isa.RFP + 1]reg { return e.st.regs() }

// frameOf returns the frame a stack pointer points into.
func (e *env) frameOf(r *reg) *frame { return e.st.frames[r.frame] }

// sanityCheck refuses, or forgets, contradictory ranges (reg_bounds_sanity_check).
func (e *env) sanityCheck(r *reg, ctx string) *Error {
	what, ok := r.consistent()
	if ok {
		return nil
	}
	if e.p.Flags&flagTestRegInvariants != 0 {
		return e.refuse(errno.EFAULT, "%s", invariantLine(r, ctx, what))
	}
	e.logf("%s\n", invariantLine(r, ctx, what))
	r.unbound()
	return nil
}

// Program load flags the verifier knows (BPF_F_*).
const (
	flagStrictAlignment   = 1 << 0
	flagAnyAlignment      = 1 << 1
	flagTestRndHi32       = 1 << 2
	flagTestStateFreq     = 1 << 3
	flagSleepable         = 1 << 4
	flagXDPHasFrags       = 1 << 5
	flagXDPDevBoundOnly   = 1 << 6
	flagTestRegInvariants = 1 << 7
)

func (e *env) strictAlign() bool {
	return (e.o.StrictAlign || e.p.Flags&flagStrictAlignment != 0) && e.p.Flags&flagAnyAlignment == 0
}

func (e *env) sleepable() bool {
	return e.p.Flags&flagSleepable != 0 || e.st != nil && e.st.inSleepable
}

// inRCU reports whether RCU protects what is read now.
func (e *env) inRCU() bool {
	return e.st.rcuLock || e.st.activeLocks > 0 || e.st.preempt > 0 || !e.sleepable()
}
