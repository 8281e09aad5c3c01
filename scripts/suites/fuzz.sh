#!/usr/bin/env bash
# fuzz: what reads our files, envelopes and tokens, on whatever bytes libFuzzer comes to. It begins with the seeds of
# crates/dev/fuzz/corpus. `fuzz.sh short|long [TARGET…]`; FUZZ_SECONDS says how long each looks.
. "$(dirname "$0")/common.sh"

seconds=${FUZZ_SECONDS:-20}
[ "$length" = short ] || seconds=${FUZZ_SECONDS:-600}
targets=(head entry export key_file envelope cap proof)
[ $# -le 1 ] || targets=("${@:2}")
corpus=$repo/crates/dev/fuzz/corpus

main() {
    make_work_folder fuzz
    trap clean_up EXIT INT TERM
    require_rust
    if ! have c++; then
        skip "fuzz: there is no C++ compiler for libFuzzer"
        return
    fi
    check "fuzz: the targets are built" build
    if [ "$failures" = 0 ]; then look_all; fi
    end_suite
}

# As part of the whole workspace, so that its libraries are those that are built already; only
# our own crates are built anew, with counters.
build() {
    local bins=() one
    for one in "${targets[@]}"; do bins+=(--bin "fuzz-$one"); done
    RUSTC_WORKSPACE_WRAPPER=$repo/crates/dev/fuzz/rustc.sh \
        cargo build --quiet --locked --workspace --features artifacts-fuzz/libfuzzer "${bins[@]}"
}

# As many at once as there are processors.
look_all() {
    local one
    for one in "${targets[@]}"; do
        while [ "$(jobs -pr | wc -l)" -ge "$(nproc)" ]; do wait -n || true; done
        look "$one" &
    done
    wait
    for one in "${targets[@]}"; do
        check "fuzz: $one holds for $seconds s" report "$one"
    done
}

# What is found on the way stays in the work folder; an input that breaks something does not.
look() {
    local status=0
    mkdir -p "$work/$1" "$target/fuzz-found"
    "$target/debug/fuzz-$1" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=1024 -max_len=4096 \
        -print_final_stats=1 -artifact_prefix="$target/fuzz-found/$1-" \
        "$work/$1" "$corpus/$1" >"$work/$1.log" 2>&1 || status=$?
    echo "$status" >"$work/$1.status"
}

report() {
    grep -E 'panicked|Test unit written|number_of_executed_units' "$work/$1.log" || tail -n 3 "$work/$1.log"
    # Without counters it would only guess.
    grep -q 'INFO: Loaded . modules' "$work/$1.log" || return 1
    [ "$(cat "$work/$1.status")" = 0 ]
}

main
