#!/usr/bin/env bash
# `artifacts bisync-service` with a real `systemd --user`: in a mount namespace of its own, so that
# neither the machine's systemd nor the user's own units are touched.
manager=$(command -v systemd || echo /usr/lib/systemd/systemd)
if [ "${IN_NAMESPACE:-}" != 1 ] && [ "$(id -u)" = 0 ] && [ -x "$manager" ]; then
    if unshare --mount true 2>/dev/null; then
        exec env IN_NAMESPACE=1 unshare --mount bash "$0" "$@"
    fi
fi
. "$(dirname "$0")/common.sh"

main() {
    begin_suite
    trap trap_manager EXIT INT TERM
    if ! start_manager >"$work/manager.log" 2>&1; then
        skip "a service of systemd: $reason"
        end_suite
        return
    fi
    start_embedded
    use_rclone
    rclone mkdir store:services
    # Characters that units, shells and quotes make something of.
    folder=$work/"my notes 100% \$HOME \${x} \"q\" 'x' %h"
    mkdir "$folder"
    echo first >"$folder/first"
    check "a folder that was never synced has no service" not_before_a_run
    check "keys of the shell alone are refused, and the unit holds none" keys_are_saved_first
    check "systemd finds nothing wrong with the unit" unit_is_well_formed
    check "a change is carried by the service" carries_changes
    check "the status has the process, the last success and the next run" status_is_told
    check "a service that is killed is started again" starts_again
    check "it stops at once and cleanly, and starts again" stops_and_starts
    check "without the store it goes on, and the error is shown" shows_errors
    check "uninstalled, folder and state stay" leaves_folder_and_state
    end_suite
}

# A user manager in this namespace, in a control group of its own. Where there can be none, reason
# says why.
start_manager() {
    reason="systemd is not installed"
    [ -x "$manager" ] && have systemctl || return
    reason="a manager of its own needs root and a mount namespace"
    [ "${IN_NAMESPACE:-}" = 1 ] || return
    mkdir -m 700 "$work/run" "$work/home"
    mount -t tmpfs none /run
    mkdir -p /run/systemd/system
    umount -R /sys/fs/cgroup 2>/dev/null || true
    reason="there is no cgroup2"
    mount -t cgroup2 none /sys/fs/cgroup && mkdir "/sys/fs/cgroup/artifacts-$$" || return
    as_user bash -c 'echo $$ >"$1" && exec "$2" --user --log-target=console --unit=basic.target' _ \
        "/sys/fs/cgroup/artifacts-$$/cgroup.procs" "$manager" </dev/null &
    echo $! >"$work/manager.pid"
    if ! eventually as_user systemctl --user show --property=Version; then
        reason="systemd --user does not start: $(tail -n 1 "$work/manager.log")"
        return 1
    fi
}

as_user() { env HOME="$work/home" XDG_RUNTIME_DIR="$work/run" "$@"; }
# Without the shell's keys, as in another session.
ours() { as_user "$artifacts" "$@"; }
unit() { echo "$XDG_CONFIG_HOME/systemd/user/artifacts-bisync-notes.service"; }
standing() { ours bisync-service status notes --format json || true; }
main_pid() { as_user systemctl --user show --property=MainPID --value artifacts-bisync-notes.service; }
there() { rclone lsf store:services -R | grep -qxF "$1"; }
told() { standing | python3 -c "import json, sys; s = json.load(sys.stdin); f = s['folders'][0]; sys.exit(not ($1))"; }

eventually() {
    local n
    for n in $(seq 150); do
        if "$@" >/dev/null 2>&1; then return; fi
        sleep 0.2
    done
    echo "not in 30 s: $*" >&2
    return 1
}

refused() {
    local wanted=$1 status=0
    shift
    "$@" 2>"$work/said" || status=$?
    cat "$work/said" >&2
    [ "$status" = "$wanted" ]
}

not_before_a_run() {
    (
        use_keys
        ours workspace create notes --bucket services --endpoint "$endpoint"
    )
    refused 5 ours bisync-service install notes
    refused 5 ours bisync-service start notes
    [ ! -e "$(unit)" ]
}

keys_are_saved_first() {
    (
        use_keys
        ours bisync notes "$folder"
        mv "$XDG_CONFIG_HOME/artifacts/byo-credentials" "$work/saved"
        refused 3 ours bisync-service install notes
        grep -q 'the service would have no keys' "$work/said"
        mv "$work/saved" "$XDG_CONFIG_HOME/artifacts/byo-credentials"
    )
    ours bisync-service install notes --interval 1s --profile fast
    ! grep -qF -e "$secret_key" -e "$access_key" "$(unit)"
}

unit_is_well_formed() {
    as_user systemd-analyze verify --user "$(unit)" 2>"$work/verified" || { cat "$work/verified" >&2 && return 1; }
    # Keys that this systemd is too old for are passed over, and said to be.
    ! grep -vE 'Unknown key.*Restart(Steps|MaxDelaySec)' "$work/verified" | grep -F artifacts-bisync
}

carries_changes() {
    ours bisync-service start notes
    echo second >"$folder/second"
    eventually there second
    rclone touch store:services/third
    eventually test -e "$folder/third"
    # The folder's name came through whole.
    tr '\0' '\n' <"/proc/$(main_pid)/cmdline" | grep -qxF "$folder"
}

status_is_told() {
    eventually told "s['service']['running'] and f['state'] == 'waiting'"
    told "f['pid'] == $(main_pid) and f['last_success'] and f['next_run'] and f['last_error'] is None and f['healthy']"
    ours bisync-service status notes
    ours bisync-status notes
}

starts_again() {
    local before
    before=$(main_pid)
    kill -9 "$before"
    another() { [ "$(main_pid)" != 0 ] && [ "$(main_pid)" != "$before" ]; }
    eventually another
    echo fourth >"$folder/fourth"
    eventually there fourth
}

stops_and_starts() {
    local begun=$SECONDS
    ours bisync-service stop notes
    [ $((SECONDS - begun)) -lt 10 ]
    as_user systemctl --user show --property=Result --value artifacts-bisync-notes.service | grep -qx success
    refused 8 ours bisync-service status notes
    told "not s['service']['running'] and f['pid'] is None and f['next_run'] is None and f['state'] == 'idle'"
    ours bisync-status notes
    ours bisync-service start notes
    echo fifth >"$folder/fifth"
    eventually there fifth
}

shows_errors() {
    kill -9 "${started[0]}"
    eventually told "f['last_error'] and f['last_error']['code'] == 'store-unreachable' and f['failures_in_a_row'] > 1"
    told "s['service']['running'] and f['next_run'] and not f['healthy']"
    refused 7 ours bisync-status notes
}

leaves_folder_and_state() {
    ours bisync-service uninstall notes
    [ ! -e "$(unit)" ]
    [ "$(main_pid)" = 0 ]
    [ -e "$folder/first" ] && [ -e "$folder/.artifacts/folder.json" ]
    told "s['service']['state'] == 'not installed' and f['files'] > 4"
    refused 5 ours bisync-service stop notes
}

end_manager() {
    local pid
    pid=$(cat "$work/manager.pid" 2>/dev/null) || return 0
    kill "$pid" 2>/dev/null && timeout 20 tail --pid="$pid" -f /dev/null
    kill -9 "$pid" 2>/dev/null
    find "/sys/fs/cgroup/artifacts-$$" -depth -type d -exec rmdir {} + 2>/dev/null
    return 0
}

trap_manager() {
    local status=$?
    set +e
    end_manager
    (exit "$status")
    clean_up
}

main
