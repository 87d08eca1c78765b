#!/usr/bin/env bash
# Counts the system calls that one operation of a guest makes on a directory of the host: the
# difference between runs of many operations and of few, so that start-up does not count.
# Needs strace. Usage: benches/syscalls.sh [PALISADE]
set -euo pipefail
cd "$(dirname "$0")/.."
palisade=${1:-target/release/palisade}
command -v strace >/dev/null || { echo "syscalls.sh: strace is not installed" >&2; exit 1; }
[ -x "$palisade" ] || { echo "syscalls.sh: no $palisade; build it with: cargo build --release -p palisade" >&2; exit 1; }

scratch=$(mktemp -d /dev/shm/palisade-syscalls.XXXXXX)
trap 'rm -rf "$scratch"' EXIT
mkdir "$scratch/d"
run() { "$palisade" run --dir "$scratch/d::/d" benches/guest/fsbench.wasm /d "$@" >/dev/null; }
run setup 0

# The guest does a workload of COUNT operations once for COUNT / 4 + 1 and five times for COUNT.
few=100 many=1100
operations=$(((many / 4 - few / 4) + 5 * (many - few)))
count() {
  strace -f -c -U calls,name -o "$scratch/trace" "$palisade" run --dir "$scratch/d::/d" \
    benches/guest/fsbench.wasm /d "$1" "$2" >/dev/null
  awk 'NR > 2 && $1 ~ /^[0-9]+$/ && $2 != "total" { print $2, $1 }' "$scratch/trace" | sort
}

echo "| operation | calls per operation | which |"
echo "|---|---|---|"
for workload in stat stat_deep fstat fd_fdstat_get read_64b read_4k overwrite_4k write_64b_append \
  open_close open_close_deep create_unlink seek_tell; do
  count "$workload" "$few" >"$scratch/few"
  count "$workload" "$many" >"$scratch/many"
  join -a 2 "$scratch/few" "$scratch/many" | awk -v ops="$operations" -v name="$workload" '
    { n = NF == 3 ? $3 - $2 : $2; each = n / ops
      if (each > 0.01) { total += each; which = which sprintf(" %s %.2f", $1, each) } }
    END { printf "| %s | %.2f |%s |\n", name, total, which }'
done
