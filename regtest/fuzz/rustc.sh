#!/usr/bin/env bash
# RUSTC_WORKSPACE_WRAPPER of `make fuzz`: our own crates tell libFuzzer which edges they took and what they compared. What they
# rest on is compiled as always, and so shared with every other build. The flags are those of cargo-fuzz, on stable Rust.
set -euo pipefail
exec "$@" \
  -Cpasses=sancov-module \
  -Cllvm-args=-sanitizer-coverage-level=4 \
  -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
  -Cllvm-args=-sanitizer-coverage-pc-table \
  -Cllvm-args=-sanitizer-coverage-trace-compares \
  -Cllvm-args=-simplifycfg-branch-fold-threshold=0 \
  -Ccodegen-units=1
