# The commands of this project. `make up` runs the platform, `make test` proves it; `make help` lists the rest.
MAKEFLAGS += --no-print-directory
override ROOT := $(patsubst %/,%,$(dir $(abspath $(lastword $(MAKEFILE_LIST)))))
SECONDS ?= 60
RUNS ?= 100
N ?= 3000
SEED ?= 1
SETS ?=
# Everything, or the programs and tests of the sets that were asked for.
CHOSEN = $(if $(SETS),$(foreach set,$(SETS),--build stella_$(set)_tests --label $(set)),--build all)
export CCACHE_NOHASHDIR ?= 1
export CCACHE_SLOPPINESS ?= pch_defines,time_macros,include_file_mtime,include_file_ctime,locale
IN := cd '$(ROOT)' &&

.PHONY: help up down test check bench asan tsan chaos chaos-seeds fuzz lint clean
help:
	@$(IN) sed -n 's/^\([a-z-]*\):.*## */  make \1	/p' Makefile

up: ## install what is missing, build, start everything, run the chain on the samples
	@'$(ROOT)/tools/up'

down: ## stop exactly what `make up` started; the data stays
	@$(IN) if [ -x /usr/local/lib/stellaops/stella ] && [ "$$(id -u)" = 0 ]; then exec /usr/local/lib/stellaops/stella down; else exec build/release/bin/stella down; fi

test: ## every test that a fresh clone can run; ends with "N passed, N failed, N skipped"
	@$(IN) tools/install-packages build run test || { echo "0 passed, 1 failed, 0 skipped"; exit 1; }
	@$(IN) tools/configure dev || { echo "0 passed, 1 failed, 0 skipped"; exit 1; }
	@$(IN) tools/run-tests build/dev --build all --build all_verify_interface_header_sets

check: ## the fast subset, for every save
	@$(IN) tools/install-packages build run test
	@$(IN) tools/configure dev
	@$(IN) tools/run-tests build/dev --build all --fast --timeout 120

bench: ## benchmarks with their peers
	@$(IN) tools/install-packages build run bench
	@$(IN) tools/configure bench
	@$(IN) ninja -C build/bench stella_benches && for b in build/bench/bin/*_bench; do echo "== $$(basename $$b)"; "$$b" || exit 1; done

asan: ## the tests under AddressSanitizer and UBSan; SETS="pure telemetry platform" restricts them
	@$(IN) tools/install-packages build run test
	@$(IN) tools/configure asan
	@$(IN) tools/run-tests build/asan $(CHOSEN) --timeout 1800

tsan: ## the tests under ThreadSanitizer; SETS as for asan
	@$(IN) tools/install-packages build run test
	@$(IN) tools/configure tsan
	@$(IN) tools/run-tests build/tsan $(CHOSEN) --timeout 1800

chaos: ## the kill test with RUNS=n seeds
	@$(IN) tools/install-packages build run test
	@$(IN) tools/configure dev
	@$(IN) STELLA_CHAOS_RUNS=$(RUNS) tools/run-tests build/dev --build all --label chaos --timeout 86400

chaos-seeds: ## crashes of log and evidence, N=n seeds from SEED=s on
	@$(IN) tools/install-packages build run test
	@$(IN) tools/configure dev
	@$(IN) ninja -C build/dev stella_tests_chaos_seeds_test && STELLA_RUNS=$(N) STELLA_SEED=$(SEED) build/dev/bin/stella_tests_chaos_seeds_test

fuzz: ## every fuzzer for SECONDS=n
	@$(IN) tools/install-packages build test
	@$(IN) tools/fuzz $(SECONDS)

lint: ## the repository's own rules
	@$(IN) python3 tools/lint.py

clean: ## remove build directories
	@$(IN) rm -rf build
