#!/usr/bin/env bash
# Opens the page of an audit log in a real browser and looks at what it drew. Arguments: a command
# that reads a log from standard input and writes the page to standard output.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
browser=$(command -v chromium || command -v chromium-browser || command -v google-chrome)

python3 "$here/log.py" | "$@" >"$scratch/page.html"
"$browser" --headless --no-sandbox --disable-gpu --disable-quic --no-first-run \
  --disable-background-networking --disable-component-update --disable-sync \
  --user-data-dir="$scratch/profile" --enable-logging=stderr --dump-dom \
  "file://$scratch/page.html" >"$scratch/dom.html" 2>"$scratch/console"

fail() { echo "the page: $1" >&2; exit 1; }
has() { grep -qF -- "$1" "$scratch/dom.html" || fail "does not show: $1"; }
has 'data-drawn="yes"'
has 'agent.wasm: what it did'
has 'aria-label="/data/in/part-00.csv: 21 allowed, 1 refused, 112 KiB read, 0 B written"'
has '<td class="path">/data/in/.env</td>'
has '<td class="nowrap deny">deny</td>'
has 'the new name allows more'
has 'policy.toml:12'
has 'a\u{2028}b'
has '<rect'
has 'role="treeitem"'
grep -q '<title>escaped' "$scratch/dom.html" && fail "a path ran as a script"
grep -q '<img' "$scratch/dom.html" && fail "a path became an element"
grep -E 'CONSOLE.*(Error|Refused|Uncaught)' "$scratch/console" && fail "there was an error on its console"
echo "the page was drawn"
