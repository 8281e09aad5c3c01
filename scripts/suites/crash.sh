#!/usr/bin/env bash
# kill -9 of the mount at random moments while programs write; then everything acknowledged is
# compared through an empty cache. And two machines that write the same files at the same time.
. "$(dirname "$0")/common.sh"

main() {
    begin_suite
    open_workspace embedded >&2
    local kills=25 rounds=40
    if [ "$length" = long ]; then kills=200 rounds=500; fi
    check "crash: $kills kills, nothing acknowledged is lost or torn" \
        python3 "$repo/scripts/suites/crash.py" kills "$artifacts" on-embedded "$mnt" "$kills" "$work"
    check "two machines: $rounds rounds, every version is kept" \
        python3 "$repo/scripts/suites/crash.py" machines "$artifacts" on-embedded "$mnt" "$rounds" "$work"
    close_workspace >&2 || fail "crash: unmount"
    end_suite
}

main
