#!/usr/bin/env bash
# Judges what our programs are made of (licences, bans, duplicates, sources) by deny.toml, without the network.
#
#   deny.sh              the whole lock file, and that of bitcoind's source
#   deny.sh --self-test  also, that a fault of each kind is found
#   deny.sh --provision  only fetches what the others need: cargo-deny where it is missing, the packages of the second lock file
set -euo pipefail
cd "$(dirname "$0")/.."

say() { printf 'deny: %s\n' "$*" >&2; }
fail() { say "$@"; exit 1; }

# A warning is about a line of deny.toml that nothing needs any more, so it fails too.
judge() { # FOLDER CONFIG CHECK...
  local manifest=$1/Cargo.toml config=$2
  shift 2
  "$deny" --locked --offline --all-features --log-level error --manifest-path "$manifest" \
    --config "$config" check --hide-inclusion-graph --deny warnings "$@"
}

# Each fault is one line less of deny.toml, or one more: what the line is for must be found, and named.
self_test() {
  local dir faults=0
  dir=$(mktemp -d)
  trap 'rm -rf "$dir"' RETURN
  expect() { # WHAT WANTED CHECK SED: with deny.toml altered by SED, CHECK fails and says WANTED
    sed -E "$4" deny.toml >"$dir/deny.toml"
    ! cmp -s deny.toml "$dir/deny.toml" || fail "self-test: $1: the alteration changes nothing"
    if judge . "$dir/deny.toml" "$3" >"$dir/said" 2>&1; then fail "self-test: $1 is not noticed"; fi
    grep -qF -- "$2" "$dir/said" || { cat "$dir/said" >&2; fail "self-test: $1 is noticed, but not as $2"; }
    faults=$((faults + 1))
  }
  expect "a licence that is not allowed" 'license = "ISC"' licenses 's/"ISC", //'
  expect "a licence that is allowed to another crate only" 'MITNFA' licenses '/crate = "hex_lit"/d'
  expect "a licence that nothing has" 'license-not-encountered' licenses 's/"ISC", /"ISC", "MPL-2.0", /'
  expect "a version beside another" "duplicate entries for crate 'rand'" bans '/crate = "rand@0\.9"/d'
  expect "a reason for a version that is not there" 'unmatched-skip' bans \
    's/^skip = \[/&\n  { crate = "rand@0.7", reason = "nobody" },/'
  expect "a crate that is banned" "crate 'ring = " bans 's/crate = "openssl-sys"/crate = "ring"/'
  expect "two versions of one that may have one" "duplicate entries for crate 'syn'" bans \
    's/^multiple-versions = .*/multiple-versions = "allow"/; s/crate = "bitcoin", deny/crate = "syn", deny/; /crate = "syn@2"/d'
  expect "another source" 'source-not-allowed' sources 's/^unknown-git/allow-registry = []\n&/'
  say "self-test: $faults faults of deny.toml, all noticed"
}

deny=$(regtest/tool.sh cargo-deny 0.20.2)
case "${1:-}" in
  --provision)
    cargo fetch --quiet --locked --manifest-path regtest/bitcoind/Cargo.toml
    exit
    ;;
  --self-test) self_test ;;
  '') ;;
  *) fail "unknown: $1" ;;
esac
judge . deny.toml bans licenses sources
judge regtest/bitcoind deny.toml sources
