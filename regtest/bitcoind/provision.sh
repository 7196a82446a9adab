#!/usr/bin/env bash
# Prints the path of a bitcoind that is good enough for Palisade; everything else it says goes to stderr.
#
#   provision.sh          $BITCOIND, else bitcoind on PATH, else the cached build, else builds it (once)
#   provision.sh --find   the same, but never builds: fails when there is none
#
# $BITCOIND, when set, is the only candidate: if it does not fit, the script fails and says why.
# The build comes from the Bitcoin Core source that Cargo.toml beside this script locks. It is cached as
# ${PALISADE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/palisade}/bitcoind-VERSION-KEY/bin/{bitcoind,bitcoin-cli}.
set -euo pipefail

# Older releases do not relay OP_RETURN outputs above 80 bytes, which the anchors need.
oldest_major=30
package=libbitcoinkernel-sys-0.4.1
core_version=31.99
flags=(
  -DCMAKE_BUILD_TYPE=Release
  -DBUILD_DAEMON=ON -DBUILD_CLI=ON
  -DBUILD_BITCOIN_BIN=OFF -DBUILD_TESTS=OFF -DBUILD_TX=OFF -DBUILD_UTIL=OFF
  -DENABLE_WALLET=OFF -DENABLE_IPC=OFF -DENABLE_EXTERNAL_SIGNER=OFF
  -DWITH_ZMQ=OFF -DWITH_EMBEDDED_ASMAP=OFF
)

say() { printf 'bitcoind: %s\n' "$*" >&2; }
fail() { say "$@"; exit 1; }

# Prints "MAJOR.MINOR" of the program $1; nothing when it does not answer like a bitcoind.
# It reads and writes no settings in the home directory: two at once would be in each other's way.
version_of() {
  local answer
  answer=$("$1" -version -nosettings -noconf 2>/dev/null </dev/null) || return 0
  sed -nE '1s/^Bitcoin .*version v([0-9]+\.[0-9]+).*/\1/p' <<<"$answer"
}

# Prints why the program $1 does not fit; nothing when it does.
unfit() {
  local version
  version=$(version_of "$1")
  if [ -z "$version" ]; then
    echo "does not answer \`-version\` like a bitcoind"
  elif [ "${version%%.*}" -lt "$oldest_major" ]; then
    echo "is version $version, but $oldest_major.0 or later is needed"
  fi
}

# Draws the build's progress from the lines that ninja ("[12/345] ...") or make ("[ 12%] ...") prints.
show_progress() {
  local line percent shown=-1 next=0
  while IFS= read -r line; do
    if [[ $line =~ ^\[([0-9]+)/([0-9]+)\] ]]; then
      percent=$((100 * BASH_REMATCH[1] / BASH_REMATCH[2]))
    elif [[ $line =~ ^\[\ *([0-9]+)%\] ]]; then
      percent=${BASH_REMATCH[1]}
    else
      continue
    fi
    if [ -t 2 ]; then
      [ "$percent" = "$shown" ] || printf '\rbitcoind: building Bitcoin Core %s: %3d%%' "$core_version" "$percent" >&2
      shown=$percent
    elif ((SECONDS >= next)); then
      say "building Bitcoin Core $core_version: $percent% after $SECONDS s"
      next=$((SECONDS + 30))
    fi
  done
  if [ -t 2 ]; then printf '\n' >&2; fi
}

# Prints the folder of the Bitcoin Core source, fetched by cargo like any other dependency.
fetch_source() {
  local here manifest
  here=$(cd "$(dirname "$0")" && pwd)
  cargo fetch --quiet --locked --manifest-path "$here/Cargo.toml" >&2 ||
    fail "the source ($package) could not be fetched"
  manifest=$(cargo metadata --locked --offline --format-version 1 --manifest-path "$here/Cargo.toml" |
    grep -o "\"manifest_path\":\"[^\"]*/$package/Cargo.toml\"" | head -n 1 | cut -d '"' -f 4)
  [ -d "${manifest%/*}/bitcoin" ] || fail "the package $package has no source of Bitcoin Core in it"
  printf '%s\n' "${manifest%/*}/bitcoin"
}

# Builds into $1.work, which a later run continues when this one is interrupted, and renames the result to $1.
build() {
  local home=$1 work=$1.work source generator=() reason
  for tool in cmake c++ cargo; do
    command -v "$tool" >/dev/null || fail "cannot be built without $tool: run \`make deps\`"
  done
  command -v ninja >/dev/null && generator=(-G Ninja)
  mkdir -p "$work"
  # Copied, so that the build neither writes into cargo's registry nor depends on where it lies.
  if [ ! -d "$work/source" ]; then
    source=$(fetch_source)
    rm -rf "$work/copying"
    cp -Rp "$source" "$work/copying"
    mv "$work/copying" "$work/source"
  fi
  say "building Bitcoin Core $core_version once, for about 6 to 20 minutes on two cores; log: $work/log"
  cmake "${generator[@]}" -S "$work/source" -B "$work/build" "${flags[@]}" >"$work/log" 2>&1 ||
    { tail -n 30 "$work/log" >&2; fail "cmake refused; the whole log is $work/log"; }
  env -u MAKEFLAGS -u MAKELEVEL NINJA_STATUS='[%f/%t] ' \
    cmake --build "$work/build" --parallel "$(getconf _NPROCESSORS_ONLN)" --target bitcoind bitcoin-cli 2>&1 |
    tee -a "$work/log" | show_progress ||
    { tail -n 30 "$work/log" >&2; fail "the build failed; the whole log is $work/log"; }
  rm -rf "$work/done"
  mkdir -p "$work/done/bin"
  cp "$work/build/bin/bitcoind" "$work/build/bin/bitcoin-cli" "$work/done/bin/"
  reason=$(unfit "$work/done/bin/bitcoind")
  [ -z "$reason" ] || fail "the program that was built $reason"
  mv -T "$work/done" "$home"
  rm -rf "$work"
  say "built in $SECONDS s"
}

if [ -n "${BITCOIND:-}" ]; then
  program=$(command -v "$BITCOIND") || fail "\$BITCOIND is $BITCOIND, and there is no such program"
  reason=$(unfit "$program")
  [ -z "$reason" ] || fail "\$BITCOIND is $BITCOIND, which $reason"
  realpath "$program"
  exit
fi

if program=$(command -v bitcoind); then
  reason=$(unfit "$program")
  if [ -z "$reason" ]; then
    realpath "$program"
    exit
  fi
  say "$program on PATH $reason: passed over"
fi

cache=${PALISADE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/palisade}
key=$(printf '%s\n' "$package" "${flags[@]}" | sha256sum | cut -c 1-12)
home=$cache/bitcoind-$core_version-$key

if [ ! -x "$home/bin/bitcoind" ]; then
  [ "${1:-}" != --find ] || fail "none at hand (\$BITCOIND, PATH, $home): run \`make build\`"
  mkdir -p "$cache"
  exec 9>"$home.lock"
  flock --nonblock 9 || { say "another run is building it; waiting for that one"; flock 9; }
  [ -x "$home/bin/bitcoind" ] || build "$home"
fi
realpath "$home/bin/bitcoind"
