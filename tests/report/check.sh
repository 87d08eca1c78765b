#!/usr/bin/env bash
# Opens the page of an audit log in a real browser and looks at what it drew. Arguments: a command
# that reads a log from standard input and writes the page to standard output.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
browser=$(command -v chromium || command -v chromium-browser || command -v google-chrome)

# Draws the page $1: what it came to in $1.dom, its console in $1.console, what the browser asked of
# the network in $1.net.
draw() {
  "$browser" --headless --no-sandbox --disable-gpu --disable-quic --no-first-run \
    --disable-background-networking --disable-component-update --disable-sync \
    --user-data-dir="$scratch/profile" --enable-logging=stderr --log-net-log="$1.net" --dump-dom \
    "file://$1" >"$1.dom" 2>"$1.console"
}
# Whether the page $1 itself, and not the browser, asked for anything.
asked_the_network() { grep -qF '"network_isolation_key":"file://' "$1.net"; }

page=$scratch/page.html
python3 "$here/log.py" | "$@" >"$page"
draw "$page"

fail() { echo "the page: $1" >&2; exit 1; }
has() { grep -qF -- "$1" "$page.dom" || fail "does not show: $1"; }
has 'data-drawn="yes"'
has 'agent.wasm: recorded operations'
has 'aria-label="/data/in/part-00.csv: 21 allowed, 1 refused, 112 KiB read, 0 B written"'
has '<td class="path">/data/in/.env</td>'
has '<td class="nowrap deny">deny</td>'
has 'the new name allows more'
has 'policy.toml:12'
has 'a\u{2028}b'
has '<rect'
has 'role="treeitem"'
grep -q '<title>escaped' "$page.dom" && fail "a path ran as a script"
grep -q '<img' "$page.dom" && fail "a path became an element"
grep -E 'CONSOLE.*(Error|Refused|Uncaught)' "$page.console" && fail "there was an error on its console"
asked_the_network "$page" && fail "it asked for something over the network"

# The same page with something to ask for is caught at it.
asks=$scratch/asks.html
sed 's|<meta http-equiv="Content-Security-Policy"[^>]*>|<img src="http://localhost:9/a.png">|' \
  "$page" >"$asks"
cmp -s "$page" "$asks" && fail "has no policy against asking"
draw "$asks"
asked_the_network "$asks" || fail "what it asks of the network is not seen"
echo "the page was drawn, and asked for nothing"
