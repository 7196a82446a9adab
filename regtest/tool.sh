#!/usr/bin/env bash
# Builds a program of crates.io once, into ${PALISADE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/palisade}/NAME-VERSION, and prints
# the path of it.
#
#   tool.sh NAME VERSION
set -euo pipefail

name=$1 version=$2
home=${PALISADE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/palisade}/$name-$version

say() { printf '%s: %s\n' "$name" "$*" >&2; }

# Unoptimised: that takes half the time to build, and the programs wait for others most of the time.
provision() {
  mkdir -p "$(dirname "$home")"
  exec 9>"$home.lock"
  flock --nonblock 9 || { say "another run is building it; waiting for that one"; flock 9; }
  [ ! -x "$home/bin/$name" ] || return 0
  say "building version $version once, for about two minutes on two cores; log: $home.log"
  env -u MAKEFLAGS -u MAKELEVEL CARGO_TARGET_DIR="$home.work" CARGO_PROFILE_DEV_DEBUG=0 \
    cargo install "$name" --version "=$version" --locked --debug --no-track --root "$home.done" >"$home.log" 2>&1 || {
    tail -n 20 "$home.log" >&2
    say "cannot be built: that takes the network, once"
    exit 1
  }
  rm -rf "$home" "$home.work"
  mv -T "$home.done" "$home"
  say "built in $SECONDS s"
}

[ -x "$home/bin/$name" ] || provision
echo "$home/bin/$name"
