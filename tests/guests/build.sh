#!/bin/sh
# Rebuilds every guest that is committed as a .wasm, here and in benches/guest.
#
#   build.sh          rebuild in place
#   build.sh --check  rebuild into a temporary directory and compare with what is committed:
#                     exit 0 if all are the same, 1 if one differs, 77 if the tools are missing
#
# Needs Debian's clang-14, libclang-rt-14-dev-wasm32 and wasi-libc (installed with apt if this runs
# as root), python3, and the wasm-ld and wasm-component-ld that rustup's toolchain carries.
# CLANG and WASM_LD name others.
#
# The guest for Preview 2 needs a wasi-libc that has a libc for wasm32-wasip2, and which would put
# itself in the place of the other: that of Debian's suite trixie-backports, which is unpacked into
# a directory of its own. WASIP2_SYSROOT names one that is there already.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
bench=$here/../../benches/guest
clang=${CLANG:-clang-14}
packages="clang-14 libclang-rt-14-dev-wasm32 wasi-libc"
wasip2_libc=wasi-libc=0.0~git20260423.161b319-2~bpo13+1

mode=build
case "${1:-}" in
'') ;;
--check) mode=check ;;
*)
    echo "usage: build.sh [--check]" >&2
    exit 2
    ;;
esac

missing() {
    echo "build.sh: $1" >&2
    exit 77
}

have_tools() {
    command -v "$clang" >/dev/null 2>&1 && [ -e /usr/include/wasm32-wasi/wasi/api.h ]
}

if ! have_tools; then
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
        # shellcheck disable=SC2086 # a list of words
        { apt-get update && apt-get install -y --no-install-recommends $packages; } >&2
    fi
    have_tools || missing "please install: $packages"
fi
if [ -z "${WASM_LD:-}" ]; then
    host=$(rustc -vV | sed -n 's/^host: //p') || missing "no rustc, and WASM_LD is not set"
    WASM_LD=$(rustc --print sysroot)/lib/rustlib/$host/bin/gcc-ld/wasm-ld
fi
[ -x "$WASM_LD" ] || missing "no wasm-ld at $WASM_LD"

temp=$(mktemp -d)
trap 'rm -rf "$temp"' EXIT

# Unpacks the libc for wasm32-wasip2, with lists and settings of apt that are not the machine's.
unpack_wasip2() {
    key=/usr/share/keyrings/debian-archive-keyring.gpg
    mkdir -p "$temp/lists/partial" "$temp/cache/archives/partial" "$temp/wasip2"
    # From where this machine has the other libc.
    uri=$(apt-cache policy wasi-libc | awk '$2 ~ /:\/\// { print $2; exit }')
    echo "deb [signed-by=$key] $uri trixie-backports main" >"$temp/sources.list"
    set -- -o "Dir::Etc::sourcelist=$temp/sources.list" -o Dir::Etc::sourceparts=- \
        -o "Dir::State::lists=$temp/lists" -o "Dir::Cache=$temp/cache" -o APT::Sandbox::User=root
    { apt-get "$@" update && cd "$temp" && apt-get "$@" download "$wasip2_libc"; } >&2 &&
        dpkg -x "$temp"/wasi-libc_*.deb "$temp/wasip2"
}

if [ -z "${WASIP2_SYSROOT:-}" ]; then
    command -v apt-get >/dev/null 2>&1 || missing "no apt-get, and WASIP2_SYSROOT is not set"
    (unpack_wasip2) || missing "cannot get $wasip2_libc of trixie-backports"
    WASIP2_SYSROOT=$temp/wasip2/usr
fi
[ -e "$WASIP2_SYSROOT/include/wasm32-wasip2/wasi/wasip2.h" ] ||
    missing "no libc for wasm32-wasip2 in $WASIP2_SYSROOT"
component_ld=$(rustc --print sysroot)/lib/rustlib/$(rustc -vV | sed -n 's/^host: //p')/bin
component_ld=$component_ld/wasm-component-ld
[ -x "$component_ld" ] || missing "no wasm-component-ld at $component_ld"

out=$here
bench_out=$bench
bad_out=$here/bad
if [ "$mode" = check ]; then
    out=$temp/out
    bench_out=$out/bench
    bad_out=$out/bad
    mkdir "$out" "$bench_out" "$bad_out"
fi

# compile NAME.wasm SOURCE... : -s leaves the name section out, --strip-debug keeps it.
# Sources are named relative to where they lie, so that no path of this machine gets in.
compile() {
    wasm=$1
    strip=$2
    shift 2
    "$clang" --target=wasm32-wasi -std=gnu11 -O2 -Wall -Wextra -Werror "-Wl,$strip" \
        "-fuse-ld=$WASM_LD" "$@" -o "$wasm"
}

# component NAME.wasm SOURCE... : for wasm32-wasip2.
component() {
    wasm=$1
    shift
    objects=$temp/objects
    rm -rf "$objects"
    mkdir "$objects"
    for source in "$@"; do
        "$clang" --target=wasm32-wasi -nostdlibinc -D__wasip2__ \
            -isystem "$WASIP2_SYSROOT/include/wasm32-wasip2" -std=gnu11 -O2 -Wall -Wextra -Werror \
            -c "$source" -o "$objects/$(basename "$source" .c).o"
    done
    lib=$WASIP2_SYSROOT/lib/wasm32-wasip2
    builtins=$("$clang" -print-resource-dir)/lib/wasi/libclang_rt.builtins-wasm32.a
    "$component_ld" --wasm-ld-path "$WASM_LD" -s "$lib/crt1-command.o" "$objects"/*.o \
        "-L$lib" -lc "$builtins" -o "$wasm"
}

cd "$here"
for source in *.c; do
    name=${source%.c}
    strip=-s
    [ "$name" = trap ] && strip=--strip-debug
    compile "$out/$name.wasm" "$strip" "$source"
done
cd "$here/calls"
compile "$out/calls.wasm" -s ./*.c
cd "$here/calls2"
component "$out/calls2.wasm" *.c
cd "$here/streams"
component "$out/streams.wasm" *.c
cd "$bench"
compile "$bench_out/fsbench.wasm" -s fsbench.c
cd "$here/bad"
python3 pointers.py >"$bad_out/pointers.wat"
chmod 644 "$out"/*.wasm "$bench_out"/*.wasm

[ "$mode" = check ] || exit 0
differ=0
compare() {
    if ! cmp -s "$1" "$2"; then
        echo "differs from what the sources give: $2" >&2
        differ=1
    fi
}
for built in "$out"/*.wasm; do compare "$built" "$here/$(basename "$built")"; done
for built in "$bench_out"/*.wasm; do compare "$built" "$bench/$(basename "$built")"; done
compare "$bad_out/pointers.wat" "$here/bad/pointers.wat"
for committed in "$here"/*.wasm; do
    if [ ! -e "$out/$(basename "$committed")" ]; then
        echo "has no source: $committed" >&2
        differ=1
    fi
done
if [ "$differ" = 1 ]; then
    "$clang" --version | sed -n 1p >&2
    "$WASM_LD" --version >&2
fi
exit "$differ"
