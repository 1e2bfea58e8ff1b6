# What takes longer than a test run should.

PROGRAMS ?= 100000
SEED     ?= 1

.PHONY: soak

# soak draws random programs and compares every engine with every other.
soak:
	go test ./internal/difftest -run TestRandomPrograms -timeout 0 -programs $(PROGRAMS) -seed $(SEED)
