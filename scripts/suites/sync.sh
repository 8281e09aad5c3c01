#!/usr/bin/env bash
# Two-way sync as users run it, on SeaweedFS: the scenarios that rclone's bisync documents, the pains that sync
# tools are known for, editors and git at work in the folder, names that are trouble, and stores, disks and
# networks that fail in the middle. What is in the bucket is read by boto3 and the AWS command line.
# Words after the length choose cases: sync.sh short vim pain_21
. "$(dirname "$0")/common.sh"

main() {
    shift || true
    begin_suite
    require_tools
    require_packages git=git vim=vim
    start_seaweedfs sync
    export RESULT length
    (
        umask 077
        cat >"$work/lab.json" <<JSON
{"work": "$work", "artifacts": "$artifacts", "endpoint": "$endpoint", "bucket": "sync", "access_key": "$access_key", "secret_key": "$secret_key"}
JSON
    )
    "$ARTIFACTS_TOOLS/venv/bin/python3" "$repo/scripts/suites/sync.py" "$work/lab.json" "$@" >&2 &
    started+=($!)
    wait $! || failures=$((failures + 1))
    end_suite
}

main "$@"
