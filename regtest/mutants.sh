#!/usr/bin/env bash
# Changes the rules, one place at a time, and shows that a test fails for each change: protocol's rules and the hub's ledger.
#
#   mutants.sh              all files, for hours; MUTANTS="FILE..." for some of them
#   mutants.sh --provision  only builds cargo-mutants where it is missing
#
# What no test can tell from the rule stands with its reason in .cargo/mutants.toml. Anything else that survives fails the run.
# Quick tests go first, and only what survived them meets the next. Results: target/mutants/protocol and target/mutants/ledger.
set -euo pipefail
cd "$(dirname "$0")/.."

version=27.1.0
cache=${PALISADE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/palisade}
home=$cache/cargo-mutants-$version
out=$PWD/${CARGO_TARGET_DIR:-target}/mutants

say() { printf 'mutants: %s\n' "$*" >&2; }
fail() { say "$@"; exit 1; }

provision() {
  [ ! -x "$home/bin/cargo-mutants" ] || return 0
  mkdir -p "$cache"
  exec 9>"$home.lock"
  flock --nonblock 9 || { say "another run is building it; waiting for that one"; flock 9; }
  [ ! -x "$home/bin/cargo-mutants" ] || return 0
  say "building cargo-mutants $version once; log: $home.log"
  env -u MAKEFLAGS -u MAKELEVEL CARGO_TARGET_DIR="$home.work" CARGO_PROFILE_DEV_DEBUG=0 \
    cargo install cargo-mutants --version "=$version" --locked --debug --no-track --root "$home.done" >"$home.log" 2>&1 ||
    { tail -n 20 "$home.log" >&2; fail "cannot be built"; }
  rm -rf "$home" "$home.work"
  mv -T "$home.done" "$home"
}
