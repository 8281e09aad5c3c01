#!/usr/bin/env bash
# vectors: the test vectors of the vault, and of the signer's file and wallets, held against a second
# implementation in Python on another library (vectors/vault.py, signer_vectors.py), which has also written
# them. The tests of crates/core/vault and crates/server/signer hold the same files against ours.
# `vectors.sh short|long`; after a change of a second implementation write them anew with
# `python3 scripts/suites/vectors write crates/core/vault/vectors` and
# `python3 scripts/suites/signer_vectors.py write crates/server/signer/vectors`.
. "$(dirname "$0")/common.sh"

main() {
    make_work_folder vectors
    trap clean_up EXIT INT TERM
    require_tools
    "$ARTIFACTS_TOOLS/venv/bin/python3" "$repo/scripts/suites/vectors" check "$repo/crates/core/vault/vectors" \
        >"$work/verdicts" 2>"$work/errors" || true
    "$ARTIFACTS_TOOLS/venv/bin/python3" "$repo/scripts/suites/signer_vectors.py" check "$repo/crates/server/signer/vectors" \
        >>"$work/verdicts" 2>>"$work/errors" || true
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
    if [ "$seen" -lt 705 ]; then fail "vectors: only $seen cases were read"; fi
}

main
