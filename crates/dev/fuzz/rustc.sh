#!/usr/bin/env bash
# The compiler with the counters that libFuzzer steers by, for scripts/suites/fuzz.sh: cargo calls it as
# RUSTC_WORKSPACE_WRAPPER, for our own crates only. The flags are those of cargo-fuzz without
# a sanitizer, all of which a stable compiler has.
exec "$@" -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares -Copt-level=2 -Cdebug-assertions=on
