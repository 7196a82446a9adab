#!/usr/bin/env bash
# Installs the standard OpenTimestamps client into an environment of its own, once, and prints the path of its `ots`.
# It lives below the build tree (${CARGO_TARGET_DIR:-target}/ots): nothing but tests uses it.
set -euo pipefail
cd "$(dirname "$0")/../.."

say() { printf 'ots: %s\n' "$*" >&2; }
wanted=regtest/ots/requirements.txt
home=${CARGO_TARGET_DIR:-target}/ots

if ! cmp -s "$wanted" "$home/installed.txt"; then
  say "installing the standard OpenTimestamps client into $home"
  rm -rf "$home"
  mkdir -p "$(dirname "$home")"
  python3 -m venv "$home"
  "$home/bin/pip" install --quiet --disable-pip-version-check --requirement "$wanted" >&2
  cp "$wanted" "$home/installed.txt"
fi
"$home/bin/ots" --version >/dev/null 2>&1 || { say "$home/bin/ots does not run; remove $home and try again"; exit 1; }
echo "$home/bin/ots"
