#!/usr/bin/env bash
# The whole vault, each role a process of its own, as `artifactsd dev` runs it: what the three ways to a
# secret give, where keys lie and where they do not, and what somebody with the keys of one part can do.
. "$(dirname "$0")/common.sh"

main() {
    begin_suite
    require_tools
    access_key=script-root
    secret_key=$(head -c 24 /dev/urandom | base64 | tr -d '+/=')
    ARTIFACTS_DEV_ACCESS_KEY_ID=$access_key ARTIFACTS_DEV_SECRET_ACCESS_KEY=$secret_key \
        "$artifactsd" dev --data "$work/dev" --listen 127.0.0.1:0 --ready-file "$work/dev.json" >"$work/dev.log" 2>&1 &
    started+=($!)
    wait_for_file "$work/dev.json" $! "$work/dev.log"
    export ARTIFACTS_DAEMON_SOCKET=$work/daemon.sock RESULT length
    (
        umask 077
        cat >"$work/lab.json" <<JSON
{"work": "$work", "artifacts": "$artifacts", "artifactsd": "$artifactsd", "access_key": "$access_key", "secret_key": "$secret_key"}
JSON
    )
    if ! PYTHONPATH=$repo/scripts/suites/vectors "$ARTIFACTS_TOOLS/venv/bin/python3" "$repo/scripts/suites/whole_vault.py" "$work/lab.json" >&2; then
        failures=$((failures + 1))
        tail -n 20 "$work/dev.log" >&2
    fi
    end_suite
}

main
