# What takes longer than a test run should.

PROGRAMS ?= 1000000
KERNEL   ?= 100000
SEED     ?= 1
FILTERS  ?= 300000
INPUTS   ?= 10000000

.PHONY: soak

# soak draws PROGRAMS random programs and compares interpreter and native code,
# KERNEL more and compares every engine with every other and with the kernel, and
# FILTERS random filter expressions, whose code it compares with libpcap's.
# Then INPUTS random inputs of FuzzBpf, a few calls of bpf(2) each: none panics or leaves anything.
# Then programs that watch themselves run for a minute while everything moves.
soak:
	GOGC=400 go test ./internal/difftest -run TestRandomPrograms -v -timeout 0 -programs $(PROGRAMS) -seed $(SEED) -engines interp,jit-inline
	GOGC=400 go test ./internal/difftest -run TestRandomPrograms -v -timeout 0 -programs $(KERNEL) -seed $$(($(SEED)+$(PROGRAMS)))
	go test ./lang/pcap -run TestRandomParity -timeout 0 -v -parity.n $(FILTERS) -parity.seed $(SEED)
	go test ./internal/bpfsys -run TestBpfSoak -v -timeout 0 -executions $(INPUTS) -seed $(SEED)
	SKEP_STRESS=60s go test ./internal/run -run NativeStress -count 1 -timeout 0

BENCH ?=

.PHONY: bench bench-filter bench-verify bench-xsk bench-net bench-system

# bench compares what one run of a program costs here, in the Linux kernel, as
# native code and in wazero; bench-filter compares skep filter with tcpdump,
# over captures of a gigabyte it makes in the system's temporary directory.
bench:
	cd bench && go run ./calls $(BENCH)

bench-filter:
	cd bench && go run ./filter $(BENCH)

# bench-net compares what packets cost that programs redirect over pairs of devices
# with the kernel's veth pairs, in a network namespace of its own; it needs root.
bench-net:
	cd bench && go run ./net $(BENCH)

# bench-system compares map operations and bpf(2) with the kernel's.
bench-system:
	cd bench && go run ./system $(BENCH)

# bench-verify compares the verifier with the kernel's on the objects
# OBJECTS/SET/*.o, the examples if there is no other word.
bench-verify:
	cd bench && go run ./verify $(BENCH) $(OBJECTS)

# bench-xsk compares AF_XDP sockets on a cable with the kernel's over veth.
bench-xsk:
	cd bench && go run ./xsk $(BENCH)

TABLE ?= selftests.tsv.gz
DIR   ?= .

.PHONY: parity

# parity compares this verifier's verdicts on the objects in DIR/TREE/*.o with
# those of a live kernel, which TABLE has: see docs/parity.md. LIVE=-live asks
# the kernel that runs as well.
parity:
	go run ./internal/parity -table $(TABLE) $(LIVE) $(DIR)
