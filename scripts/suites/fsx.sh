#!/usr/bin/env bash
# fsx: random reads, writes, truncations and maps of one file, each read verified.
. "$(dirname "$0")/common.sh"

operations=3000
seeds=(1)
if [ "$length" = long ]; then
    operations=20000
    seeds=(1 2 3)
fi

main() {
    begin_suite
    require_cargo_tools
    local store seed
    for store in embedded seaweedfs; do
        open_workspace "$store" >&2
        for seed in "${seeds[@]}"; do
            check "fsx: $operations operations, seed $seed, on $store" run_fsx "$seed"
        done
        check "fsx: unmount of $store" close_workspace
    done
    end_suite
}

run_fsx() {
    mkdir -p "$work/fsx"
    fsx -f "$repo/scripts/suites/fsx.toml" -S "$1" -N "$operations" -P "$work/fsx" "$mnt/file-$1"
    # What was written is there for a new reader too.
    [ -s "$mnt/file-$1" ]
}

main
