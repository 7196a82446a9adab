#!/usr/bin/env bash
# Changes the rules, one place at a time, and wants a test to fail for each change: all of `protocol`, and the hub's ledger and votes.
#
#   mutants.sh              every change, for about two hours; one that was interrupted goes on, if nothing was changed since
#   mutants.sh FILE...      only those in these files
#   mutants.sh --reasons    only whether each reason in .cargo/mutants.toml is still one for something
#
# KEEP=1: what was noticed once is not changed again, though something was changed since. For whoever writes the missing tests.
#
# A change that no test can notice has its reason in .cargo/mutants.toml. Any other that none notices fails the run. What was
# tried, and what the tests said, is in target/mutants.
set -euo pipefail
cd "$(dirname "$0")/.."

out=$(realpath -m "${CARGO_TARGET_DIR:-target}/mutants")

say() { printf 'mutants: %s\n' "$*" >&2; }
fail() { say "$@"; exit 1; }

mutants() { "$program" mutants --colors never --package "palisade-$1" "${files[@]}" "${@:2}"; }

changes() { mutants protocol --list "$@"; mutants hub --list "$@"; }

reasons_are_for_something() {
  local all reason reasons
  all=$(changes --no-config)
  reasons=$(python3 -c 'import tomllib; print(*tomllib.load(open(".cargo/mutants.toml", "rb"))["exclude_re"], sep="\n")')
  while read -r reason; do
    grep -qE -- "$reason" <<<"$all" || fail "nothing is changed that the reason for '$reason' speaks of"
  done <<<"$reasons"
  say "$(wc -l <<<"$reasons") reasons for $(($(wc -l <<<"$all") - $(changes | wc -l))) of $(wc -l <<<"$all") changes"
}

# What was there when the changes were tried: results are kept for exactly that.
sources() { git rev-parse HEAD; git status --porcelain; git diff HEAD; }

lines() { cat "$@" 2>/dev/null | wc -l; }

# Tries the changes of a crate that no step before it has noticed. Unchanged, the tests pass: else a failure would say nothing.
step() { # CRATE WHOSE-TESTS WHICH-PROGRAMS ARGUMENTS-FOR-THEM...
  local crate=$1 package=$2 found=$out/$1/mutants.out programs=()
  for word in $3; do programs+=("--cargo-arg=$word"); done
  shift 3
  # A test that does not end has noticed, too.
  [ ! -e "$found/timeout.txt" ] || cat "$found/timeout.txt" >>"$found/caught.txt"
  say "$crate: tests of $package $*"
  # 2: not all were noticed, which the last step decides; 3: a test did not end.
  TMPDIR=$out mutants "$crate" --jobs 2 --iterate --timeout 120 --output "$out/$crate" \
    --test-package "palisade-$package" --cargo-arg=--locked "${programs[@]}" -- -- "$@" || [[ $? = [23] ]]
  say "$crate: $(lines "$found"/{caught,previously_caught,timeout}.txt) changes noticed, $(lines "$found"/missed.txt) not yet"
}

program=$(regtest/tool.sh cargo-mutants 27.1.0)
files=(--file='protocol/src/**' --file='hub/src/ledger.rs' --file='hub/src/ledger/**' --file=hub/src/votes.rs)
reasons_are_for_something
[ "${1:-}" != --reasons ] || exit 0

if [ $# -gt 0 ]; then files=(); fi
for file in "$@"; do
  [ -e "$file" ] || fail "there is no $file"
  files+=("--file=$file")
done
now=$(sources; echo "$@")
if [ -z "${KEEP:-}" ] && [ "$(cat "$out/sources" 2>/dev/null)" != "$now" ]; then rm -rf "$out"; fi
mkdir -p "$out"
rm -rf "$out"/cargo-mutants-*
printf '%s\n' "$now" >"$out/sources"

# Unoptimised: of the time that a change takes, compiling is most.
export CARGO_PROFILE_DEV_OPT_LEVEL=0 CARGO_PROFILE_DEV_DEBUG=0 CARGO_TERM_COLOR=never
export PROPTEST_MAX_SHRINK_ITERS=0 PROPTEST_DISABLE_FAILURE_PERSISTENCE=1

# A change can have a loop take memory without end: it takes so much, in KiB, and the test fails.
ulimit -v $((8 * 1024 * 1024))

# Quick tests first. Stories only: what a property notices today it may not draw tomorrow. Left out is also what alters every byte of something long.
step protocol protocol --lib
step protocol protocol "--test it" --skip exposure::
step protocol world "--test it" --skip properties:: --skip altered
step hub hub --lib
step hub world --tests --skip properties:: --skip altered

missed=$(cat "$out"/{protocol,hub}/mutants.out/missed.txt)
[ -z "$missed" ] || { printf '%s\n' "$missed"; fail "$(wc -l <<<"$missed") changes that no test noticed and .cargo/mutants.toml has no reason for"; }
say "every change was noticed, or has its reason"
