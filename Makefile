# What a developer types daily. `make` alone prints the list.
#
# Everything here builds with the one profile `dev` (Cargo.toml), so that RocksDB, which takes some
# minutes, compiles once a machine. The build folder lies in the user's cache, outside the checkout,
# so that a fresh clone finds it again; set CARGO_TARGET_DIR to have it elsewhere.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.PHONY: help demo test run lint bench agents fuzz clients postfix faults need

export PATH := $(HOME)/.cargo/bin:$(PATH)
export CARGO_TARGET_DIR ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/postroom/target
# Warnings are refused by clippy's own flag below and never through RUSTFLAGS: another value there makes
# cargo build every dependency again.

# `make demo EXIT=1` ends after the story instead of leaving the server up.
EXIT ?=
# `make run ARGS="--http 127.0.0.1:8080"` hands further arguments to `postroom serve`.
ARGS ?=
# `make fuzz TARGET=mime FUZZ_SECONDS=60`.
TARGET ?= mime
FUZZ_SECONDS ?= 60
FUZZ_ARGS ?=
# `make faults FAULT_ROUNDS=24`.
FAULT_ROUNDS ?= 200

help: ## print this list
	@grep -E '^[a-z]+:.*##' $(firstword $(MAKEFILE_LIST)) | sed -E 's/^([a-z]+):.*## /  make \1\t/' | expand -t 16

demo: need ## build, start a server, play the main story and leave it up (EXIT=1 ends instead)
	cargo build --locked --bin postroom --example demo
	EXIT='$(EXIT)' "$$CARGO_TARGET_DIR/debug/examples/demo"

test: lint ## formatting, lints and all tests; this is what CI runs
	cargo test --locked

lint: need ## formatting and clippy, warnings refused
	cargo fmt --all --check
	cargo clippy --locked --all-targets -- -D warnings
	cargo clippy --locked --test postfix -- -D warnings

run: need ## serve ./data on the default ports (ARGS="…" adds arguments)
	cargo run --locked --bin postroom -- serve $(ARGS)

bench: need ## print the figures of the speed table; no pass or fail
	CARGO_PROFILE_DEV_OPT_LEVEL=3 cargo bench --locked --profile dev --bench load

agents: need ## a hundred agents work ten thousand conversations for two minutes; fails if anything goes wrong
	CARGO_PROFILE_DEV_OPT_LEVEL=3 cargo bench --locked --profile dev --bench agents

# RUSTC_BOOTSTRAP lets a stable compiler take the flags that fuzzing needs; a nightly one doesn't mind. No
# sanitizer: what is ours is safe Rust, and without one more inputs are tried. RocksDB isn't built for it.
# New inputs are kept beside the build; those of the checkout are the ones that somebody chose.
fuzz: need ## run one fuzz target (TARGET=mime, smtp_session, bdat, dsn, message_id, jmap_request, patch, keys; FUZZ_SECONDS=60)
	@cargo fuzz --version >/dev/null 2>&1 || cargo install --locked cargo-fuzz
	mkdir -p "$$CARGO_TARGET_DIR/fuzz/corpus/$(TARGET)"
	cd fuzz && RUSTC_BOOTSTRAP=1 CARGO_TARGET_DIR="$$CARGO_TARGET_DIR/fuzz" \
	  cargo fuzz run --fuzz-dir . --sanitizer none '$(TARGET)' "$$CARGO_TARGET_DIR/fuzz/corpus/$(TARGET)" 'corpus/$(TARGET)' \
	  -- -max_total_time='$(FUZZ_SECONDS)' $(FUZZ_ARGS)

faults: need ## kill -9 at every named point, FAULT_ROUNDS=200 times, under load and a flaky relay
	FAULT_ROUNDS='$(FAULT_ROUNDS)' cargo test --locked --test main faults:: -- --nocapture

postfix: need ## the server between a real Postfix as gateway and as relay; installs it on Debian, needs root
	scripts/postfix.sh
	cargo test --locked --test postfix

CLIENTS := $(CARGO_TARGET_DIR)/clients
clients: need ## real client libraries against the real server; installs them from the network
	cargo build --locked --bin postroom
	test -x '$(CLIENTS)/venv/bin/python' || python3 -m venv '$(CLIENTS)/venv'
	'$(CLIENTS)/venv/bin/pip' install --quiet --requirement tests/clients/requirements.txt
	! command -v npm >/dev/null || npm install --silent --no-save --prefix '$(CLIENTS)' jmap-jam@0.13.1
	JMAP_MODULES='$(CLIENTS)' '$(CLIENTS)/venv/bin/python' tests/clients/run.py \
	  "$$CARGO_TARGET_DIR/debug/postroom" jmapc_smoke.py jmaplib_smoke.py jmap_jam_smoke.mjs

need:
	@scripts/need.sh
