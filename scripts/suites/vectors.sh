#!/usr/bin/env bash
# vectors: the vault's test vectors, held against a second implementation of its formats in Python on
# another library (vectors/vault.py), which has also written them. The tests of crates/core/vault hold the same
# files against ours. `vectors.sh short|long`; after a change of what is in vectors/ write them anew with
# `python3 scripts/suites/vectors write crates/core/vault/vectors`.
. "$(dirname "$0")/common.sh"

main() {
    make_work_folder vectors
    trap clean_up EXIT INT TERM
    require_tools
    "$ARTIFACTS_TOOLS/venv/bin/python3" "$repo/scripts/suites/vectors" check "$repo/crates/core/vault/vectors" \
        >"$work/verdicts" 2>"$work/errors" || true
    report <"$work/verdicts"
    if [ -s "$work/errors" ]; then fail "vectors: ended early: $(tail -n 3 "$work/errors" | tr '\n' '|')"; fi
    end_suite
}

report() {
    local how name seen=0
    while read -r how name; do
        seen=$((seen + 1))
        case $how in
        pass) pass "vectors: $name" 2>/dev/null ;;
        *) fail "vectors: $name: the second implementation says otherwise" ;;
        esac
    done
    if [ "$seen" -lt 700 ]; then fail "vectors: only $seen cases were read"; fi
}

main
