#!/usr/bin/env bash
# Makes sure that what the build needs from the system is there. On Debian and its children missing packages are
# installed (with sudo when not root); elsewhere they are named and the script stops.
set -euo pipefail
cd "$(dirname "$0")/.."

say() { printf 'deps: %s\n' "$*" >&2; }
fail() { say "$@"; exit 1; }

# Each look asks for the thing itself, so that it may come from anywhere, not only from a package.
missing=()
look() { # PACKAGE COMMAND...: adds the Debian package PACKAGE when the command fails
  local package=$1
  shift
  "$@" >/dev/null 2>&1 </dev/null || missing+=("$package")
}
has_boost() { echo '#include <boost/version.hpp>' | c++ -E -x c++ -; }

# A bitcoind that was named and does not fit is refused before anything is installed or compiled.
[ -z "${BITCOIND:-}" ] || regtest/bitcoind/provision.sh --find >/dev/null

look_for_all() {
  missing=()
  look git git --version
  look g++ c++ --version                        # SQLite, libsecp256k1, blst and Core's interpreter are compiled
  look strace strace --version                  # faults are injected by it
  look faketime faketime --version              # clocks are stopped by it
  look python3-venv python3 -c 'import ensurepip' # the OpenTimestamps client of the tests lives in a venv
  if ! regtest/bitcoind/provision.sh --find >/dev/null 2>&1; then
    look cmake cmake --version
    look ninja-build ninja --version
    look libboost-dev has_boost
  fi
}

# Runs a command as root.
as_root() {
  if [ "$(id -u)" = 0 ]; then
    "$@" >&2
  elif command -v sudo >/dev/null; then
    sudo "$@" >&2
  else
    fail "needs root and there is no sudo; as root run: $*"
  fi
}

look_for_all
if [ ${#missing[@]} -gt 0 ]; then
  command -v apt-get >/dev/null ||
    fail "missing (by their Debian names): ${missing[*]}; install them and run this again"
  say "installing ${missing[*]}"
  as_root apt-get update -qq
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "${missing[@]}"
  look_for_all
  [ ${#missing[@]} -eq 0 ] || fail "installed, but still not usable: ${missing[*]}"
fi

wanted=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
command -v cargo >/dev/null || fail "a Rust toolchain, $wanted or later, is needed; there is no cargo on PATH"
found=$(rustc --version | cut -d ' ' -f 2)
[ "$(printf '%s\n' "$wanted" "$found" | sort -V | head -n 1)" = "$wanted" ] ||
  fail "a Rust toolchain, $wanted or later, is needed; this one is $found"
