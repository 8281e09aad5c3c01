#!/usr/bin/env bash
# The vault as real processes under load and in trouble: servers killed while many ask, a thousand who ask at
# once, a broker that is away, a store that is not ours; and what goes over the wire meanwhile.
. "$(dirname "$0")/common.sh"

main() {
    begin_suite
    require_tools
    load=$(dirname "$artifactsd")/artifacts-load
    [ -x "$load" ] || die "artifacts-load is not built" "make build"
    # A thousand clients have a thousand connections.
    ulimit -n 4096 2>/dev/null || ulimit -n "$(ulimit -Hn)"
    export RESULT length
    (
        umask 077
        cat >"$work/lab.json" <<JSON
{"work": "$work", "artifacts": "$artifacts", "artifactsd": "$artifactsd", "testkit": "$testkit", "load": "$load"}
JSON
    )
    PYTHONPATH=$repo/scripts/suites/vectors "$ARTIFACTS_TOOLS/venv/bin/python3" "$repo/scripts/suites/vault_load.py" "$work/lab.json" >&2 &
    started+=($!)
    wait $! || failures=$((failures + 1))
    end_suite
}

main
