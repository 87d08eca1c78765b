#!/usr/bin/env bash
# Times whole processes: a guest that says hello, the second time that it is run, beside the
# `wasmtime` command if there is one. Runs are interleaved; the median counts.
# Usage: benches/startup.sh [PALISADE] [WASMTIME]
set -euo pipefail
cd "$(dirname "$0")/.."
palisade=${1:-target/release/palisade}
wasmtime=${2:-wasmtime}
guest=tests/guests/hello.wasm
[ -x "$palisade" ] || { echo "startup.sh: no $palisade; build it with: cargo build --release -p palisade" >&2; exit 1; }
installed=$(mktemp -d)
trap 'rm -rf "$installed"' EXIT
cp "$palisade" "$installed/palisade"
palisade=$installed/palisade
RUST_BACKTRACE=0 python3 - "$palisade" "$wasmtime" "$guest" <<'PYTHON'
import shutil, statistics, subprocess, sys, time

palisade, wasmtime, guest = sys.argv[1:]
commands = {"palisade": [palisade, "run", guest]}
if shutil.which(wasmtime):
    commands["wasmtime"] = [wasmtime, "run", guest]
times = {name: [] for name in commands}
for round in range(52):
    for name, command in commands.items():
        started = time.perf_counter()
        subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
        if round > 0:  # the first one compiles
            times[name].append(time.perf_counter() - started)
medians = {name: statistics.median(each) * 1e6 for name, each in times.items()}
for name, median in medians.items():
    print(f"{name}: {median:.0f} us (median of {len(times[name])}, least {min(times[name]) * 1e6:.0f})")
if "wasmtime" in medians:
    print(f"palisade / wasmtime: {medians['palisade'] / medians['wasmtime']:.2f}")
PYTHON
