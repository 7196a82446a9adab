# Each target installs or builds what it misses; `make build` fetches all that the others need, and after it they run
# with no network but loopback (but `make mutants`, which builds its program on first use).

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.ONESHELL:
.NOTPARALLEL:
.DEFAULT_GOAL := help
.PHONY: help deps bitcoind build binaries check test fuzz mutants nightly load demo report replay up down bench clean

# An empty BITCOIND is the same as none. See regtest/bitcoind/provision.sh for where a bitcoind comes from.
find-bitcoind = BITCOIND="$$(regtest/bitcoind/provision.sh)"; export BITCOIND
programs := $(or $(CARGO_TARGET_DIR),target)/release
fuzz-programs := $(or $(CARGO_TARGET_DIR),target)/debug

help: ## this list
	@sed -nE 's/^([a-z]+):.*## (.*)/  make \1\t\2/p' Makefile | expand -t 18

deps: ## install missing system packages (Debian, Ubuntu), or name them
	@regtest/deps.sh

bitcoind: deps ## find a bitcoind, or build one, and print where it is
	@echo "bitcoind: $$(regtest/bitcoind/provision.sh)"

build: bitcoind ## everything that the other targets need, from the network
	regtest/ots/provision.sh
	regtest/deny.sh --provision
	cargo fetch --locked
	cargo build --release --workspace --locked
	cargo build --workspace --locked
	cargo test --workspace --locked --no-run
	CARGO_INCREMENTAL=0 RUSTC_WORKSPACE_WRAPPER="$$PWD/regtest/fuzz/rustc.sh" cargo build --workspace --locked \
	  --features palisade-fuzz/libfuzzer --bin palisade-fuzz-target

binaries: deps ## the programs, in target/release
	@cargo build --release --workspace --locked

check: deps ## formatting, lints, documentation, and what our programs are made of
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --no-deps --workspace --locked
	regtest/deny.sh --self-test

test: binaries ## all tests, on a real bitcoind
	@regtest/ots/provision.sh >/dev/null
	$(find-bitcoind)
	cargo build --workspace --locked
	cargo test --workspace --locked --no-run
	cargo test --workspace --locked -- --list 2>&1 | python3 -B regtest/threats.py --listed /dev/stdin
	cargo test --workspace --locked

# Our own crates are compiled once more, to tell libFuzzer where they went; what they rest on is not.
fuzz: deps ## hostile bytes for every decoder and endpoint, for MINUTES in all (30); ONLY=NAME for some, REPLAY=FILE for one input
	@$(find-bitcoind)
	cargo build --workspace --locked --bin palisade-fuzz
	if [ -n "$(REPLAY)" ]; then exec "$(fuzz-programs)/palisade-fuzz" --replay "$(REPLAY)"; fi
	CARGO_INCREMENTAL=0 RUSTC_WORKSPACE_WRAPPER="$$PWD/regtest/fuzz/rustc.sh" cargo build --workspace --locked \
	  --features palisade-fuzz/libfuzzer --bin palisade-fuzz-target
	exec "$(fuzz-programs)/palisade-fuzz" --program "$(fuzz-programs)/palisade-fuzz-target" --dir "$(fuzz-programs)/../fuzz" \
	  --only "$(ONLY)" --seconds "$$(awk 'BEGIN { print int(60 * $(or $(MINUTES),30)) }')"

mutants: deps ## change the rules one place at a time, for hours: each change must fail a test; FILES="..." for some, KEEP=1 after new tests
	@regtest/mutants.sh $(FILES)

nightly: binaries ## what takes hours: the larger models, more random histories, hostile bytes, faults at points that SEEDS seeds draw (200 by default), loads
	@$(find-bitcoind)
	cargo build --workspace --locked
	# Of the whole workspace, as `make build` has built them: with other features everything would be compiled once more.
	PALISADE_MODEL_FAULTS=1 cargo test --workspace --lib --locked model:: -- --nocapture
	PALISADE_MODEL_FAULTS=1 cargo test --workspace --test models --locked -- --nocapture
	PROPTEST_CASES=$(or $(HISTORIES),300) cargo test --workspace --test it --locked properties:: -- --nocapture
	$(MAKE) fuzz
	"$(programs)/palisade-faults" --seeds $(or $(SEEDS),200)
	"$(programs)/palisade-load" run --seconds $(or $(LOAD_SECONDS),60) --sent 90 --longer 3 --votes-longer 12
	"$(programs)/palisade-load" run --seconds $(or $(LOAD_SECONDS),60) --sent 90 --longer 3 --votes-longer 12 --dear
	"$(programs)/palisade-load" storm

load: binaries ## a hub under 10,000 invalid messages a second, for LOAD_SECONDS seconds (60 by default)
	@cargo build --workspace --locked --bin palisade-demo
	exec "$(programs)/palisade-load" run --seconds $(or $(LOAD_SECONDS),60)

demo: binaries ## the whole story on a real regtest bitcoind; DEMO_DIR=DIR keeps it where you say
	@$(find-bitcoind)
	exec "$(programs)/palisade-demo"

report: ## check what a demo reported, with plain Python: REPORT=PATH; SELF_TEST=1 alters every field too
	@test -n "$(REPORT)" || { echo "which report? make report REPORT=PATH; 'make demo' ends with the path of its own" >&2; exit 2; }
	exec python3 -B regtest/report/check.py $(if $(SELF_TEST),--self-test) "$(REPORT)"

replay: deps ## replay the whole log of a demo in the dev build: REPORT=PATH
	@test -n "$(REPORT)" || { echo "which report? make replay REPORT=PATH; 'make demo' ends with the path of its own" >&2; exit 2; }
	cargo build --workspace --locked
	exec "$(or $(CARGO_TARGET_DIR),target)/debug/palisade-demo" replay "$(REPORT)"

up: binaries ## the same network left running, for hands-on staking
	@$(find-bitcoind)
	exec "$(programs)/palisade-demo" up

down: binaries ## stop what `make up` started
	@exec "$(programs)/palisade-demo" down

bench: binaries ## our speed beside libsecp256k1; BENCH_FULL=1 for a million stakes, BENCH_ONLY=PART for one
	@$(find-bitcoind)
	cargo bench --package palisade-regtest --bench speed --locked

clean: ## remove target/; the cached bitcoind stays
	cargo clean
