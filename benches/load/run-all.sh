#!/usr/bin/env bash
# Measures everything that docs/benchmarks.md shows beside other programs, and writes that part of it anew.
#
#   benches/load/run-all.sh                five rounds, about half an hour on a quiet machine of two cores
#   benches/load/run-all.sh --rounds 1     to see that all of it works
#   benches/load/run-all.sh --no-install   the peers are there already
#   benches/load/run-all.sh --to FOLDER    tables and plots into a copy of the document there, not into docs/
#
# Installs the peers (install-peers.sh: Debian, PyPI, npm), builds the gateway as it is released, and measures. The raw
# numbers go to target/load/, and with the plots to docs/benchmarks/. Nothing else should run meanwhile: the output
# warns where something did.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

# Seconds that one round of each takes.
readonly COMPARE=215 FANOUT=115 WORKERS=30
readonly INSTALL=600 BUILD=400

rounds=5
install=1
to=

fail() {
    printf 'run-all.sh: %s\n' "$*" >&2
    exit 1
}

say() {
    printf '\n=== %s (after %d min)\n' "$*" $((SECONDS / 60))
}

while (($#)); do
    case $1 in
        --rounds)
            [[ ${2:-} =~ ^[1-9][0-9]?$ ]] || fail "--rounds takes a number from 1 to 99"
            rounds=$2
            shift
            ;;
        --no-install) install=0 ;;
        --to)
            [[ -n ${2:-} ]] || fail "--to takes a folder"
            to=$2
            shift
            ;;
        *) fail "no such option: $1 (there are: --rounds N, --no-install, --to FOLDER)" ;;
    esac
    shift
done

# A measurement, given up after three times the time that it should take and five minutes. That of one that failed is reported too.
failed=()
measure() {
    local seconds=$1
    shift
    say "$* ($((seconds * rounds / 60 + 1)) min)"
    timeout --kill-after=20 $((seconds * rounds * 3 + 300)) \
        cargo bench --locked --bench load -- "$@" --rounds "$rounds" || failed+=("$1")
}

measuring=$(((COMPARE + FANOUT + WORKERS) * rounds / 60 + 1))
printf '%d round(s): %d min of measuring' "$rounds" "$measuring"
((install)) && printf ', before that up to %d min of installing' $((INSTALL / 60))
printf ', and up to %d min of building\n' $((BUILD / 60))

if ((install)); then
    say "installing the peers"
    timeout --kill-after=20 $((INSTALL * 3)) benches/load/install-peers.sh
fi
say "building"
timeout --kill-after=20 $((BUILD * 4)) cargo build --locked --release
timeout --kill-after=20 $((BUILD * 4)) cargo bench --locked --bench load --no-run

mkdir -p target/load
rm -f target/load/{compare,fanout,workers}.json
measure $COMPARE compare --only all
measure $FANOUT fanout --only writer,nchan,pushpin,deltaway
measure $WORKERS workers

say "writing tables and plots"
if [[ -n $to ]]; then
    mkdir -p "$to"
    cp docs/benchmarks.md "$to/benchmarks.md"
    cargo bench --locked --bench load -- report --document "$to/benchmarks.md" --plots "$to/benchmarks"
else
    cargo bench --locked --bench load -- report
fi
say "done"
((${#failed[@]} == 0)) || fail "not everything was measured without fault: ${failed[*]}"
