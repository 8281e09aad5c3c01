#!/usr/bin/env bash
# pjdfstest: what POSIX says of each call. pjdfstest.toml lists what is known not to hold, each with
# its reason; one of those that passes is a failure too, so that the list can only shrink.
. "$(dirname "$0")/common.sh"

configuration=$repo/scripts/suites/pjdfstest.toml

main() {
    begin_suite
    if [ "$(id -u)" != 0 ]; then
        skip "pjdfstest: needs root, because it changes owners and acts as other users"
        return
    fi
    require_cargo_tools
    local stores=(embedded) store
    [ "$length" = short ] || stores+=(seaweedfs)
    for store in "${stores[@]}"; do
        open_workspace "$store" --allow-other >&2
        # The other users must be able to reach the folder.
        chmod 755 "$work"
        pjdfstest -c "$configuration" -p "$mnt" -s /dev/shm >"$work/pjdfstest.log" 2>&1 || true
        report "$store"
        close_workspace >&2 || fail "pjdfstest: unmount of $store"
    done
    end_suite
}

report() {
    local name verdict rest seen=0
    sed -i 's/\x1b\[[0-9;]*m//g' "$work/pjdfstest.log"
    while IFS= read -r line; do
        case $line in
        *' ok') name=${line%% *} && pass "pjdfstest $1 $name" 2>/dev/null && seen=1 ;;
        *' skipped') skip "pjdfstest $1 ${line%% *}: $(reason_after "${line%% *}")" 2>/dev/null ;;
        *' failed as expected') skip "pjdfstest $1 ${line%% *}: known not to hold: $(known_reason "${line%% *}")" 2>/dev/null ;;
        *' PASSED UNEXPECTEDLY') fail "pjdfstest $1 ${line%% *}: passes; take it off the list" ;;
        *' FAILED') fail "pjdfstest $1 ${line%% *}: $(reason_after "${line%% *}")" ;;
        esac
    done <"$work/pjdfstest.log"
    if [ "$seen" = 0 ] || ! grep -q '^Summary:' "$work/pjdfstest.log"; then
        fail "pjdfstest $1: ended early: $(tail -n 3 "$work/pjdfstest.log" | tr '\n' '|')"
    fi
}

# The indented line that follows a case.
reason_after() { grep -F -A1 "$1 " "$work/pjdfstest.log" | sed -n '2s/^\t//p' | head -1; }

# The comment above the block of the list in which the case stands.
known_reason() {
    awk -v name="\"$1\"" '
        /^[ ]*#/ { sub(/^[ ]*# ?/, ""); reason = (open ? reason " " : "") $0; open = 1; next }
        { open = 0 }
        index($0, name) { print reason; exit }
    ' "$configuration"
}

main
