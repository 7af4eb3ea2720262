# The verbs of this repository. `make demo` and `make test` each do everything that they need,
# from Debian packages on; as root, or as a user who has sudo.

PREFIX     ?= /usr/local
SYSCONFDIR ?= /etc
DESTDIR    ?=
ARGS       ?=

# What the emulated machine measures: what other kernels may lack as well, in some minutes.
BENCH_VM   := --quick rr oneway pps vlan macvlan ipvlan-l2 ipvlan-l3 ovs vnetx-tc vnetx-xdp

BIN  := .venv/bin
SUDO := packaging/as-root

export PATH := $(PATH):/usr/sbin:/sbin
unexport PYTHONPATH PYTHONHOME VIRTUAL_ENV

.DEFAULT_GOAL := help
.PHONY: help setup setup-test demo test test-fast test-vm bench bench-check bench-vm lint format docs install uninstall clean

help:             ## this list
	@sed -n 's/^\([a-z-]*\):[^#]*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 12

setup:            ## packages, virtual environment, build; leaves .venv/bin/vnetx
	@packaging/setup.sh

setup-test:       ## the same, with what only the tests need
	@packaging/setup.sh --test

demo: setup       ## three hosts talk through a switch, beside the kernel's bridge
	$(SUDO) $(BIN)/python -m vnetx_cli.demo $(ARGS)

test: setup-test  ## every layer of tests, the VM's smoke included
	$(SUDO) packaging/test.sh all $(ARGS)

test-fast: setup-test  ## the inner loop: without slow tests and VM
	$(SUDO) packaging/test.sh fast $(ARGS)

test-vm: setup-test  ## the end-to-end set under Debian's own kernel, in QEMU
	$(SUDO) tests/vm/run.sh $(ARGS)

bench: setup      ## measure beside the kernel's own; make bench ARGS="--quick rr pps"
	$(SUDO) $(BIN)/vnetx bench $(ARGS)

bench-check: setup  ## measure, and fail on a significant loss against perf/baseline.json
	$(SUDO) $(BIN)/python -m vnetx_perf.gate $(ARGS)

bench-vm: setup-test  ## measure under Debian's own kernel, emulated: it has ipvlan, openvswitch and 8021q
	$(SUDO) env VNETX_VM_CABLES=5 tests/vm/run.sh --timeout 1800 -- $(BIN)/vnetx bench $(or $(ARGS),$(BENCH_VM))

lint: setup-test  ## style, types, layering
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports
	find bpf \( -name '*.c' -o -name '*.h' \) -exec clang-format --dry-run -Werror {} +

format: setup-test  ## put the sources into the style that lint asks for
	$(BIN)/ruff check --fix
	$(BIN)/ruff format
	find bpf \( -name '*.c' -o -name '*.h' \) -exec clang-format -i {} +

docs: setup       ## regenerate the CLI reference
	$(BIN)/python packaging/clidoc.py markdown docs/cli-reference.md

install: setup    ## a copy of its own, man pages, completion, systemd unit; PREFIX, SYSCONFDIR, DESTDIR
	@$(if $(DESTDIR),,$(SUDO)) packaging/install.sh install "$(PREFIX)" "$(SYSCONFDIR)" "$(DESTDIR)"

uninstall:        ## remove what install put there
	@$(if $(DESTDIR),,$(SUDO)) packaging/install.sh uninstall "$(PREFIX)" "$(SYSCONFDIR)" "$(DESTDIR)"

clean:            ## remove what set-up and build made
	rm -rf .venv build dist vnetx.egg-info vnetx/*.so .pytest_cache .mypy_cache .ruff_cache \
		.import_linter_cache .hypothesis
