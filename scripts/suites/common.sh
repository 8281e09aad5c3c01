# Shared by the suites; sourced, never run. A suite takes `short` or `long` and writes one line per
# case to $RESULT: `pass NAME`, `fail NAME: why`, `skip NAME: why`.
# shellcheck shell=bash
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"

length=${1:-short}
: "${RESULT:=/dev/null}"
failures=0

pass() {
    echo "pass $*" >>"$RESULT"
    note "ok: $*"
}
fail() {
    echo "fail $*" >>"$RESULT"
    note "FAILED: $*"
    failures=$((failures + 1))
}
skip() {
    echo "skip $*" >>"$RESULT"
    note "skipped: $*"
}

# check NAME COMMAND…: the case passes when the command does. Not to be called where `set -e` is
# off (in conditions), because the command would lose it too.
check() {
    local name=$1 status begun=$SECONDS
    shift
    set +e
    (
        set -e
        "$@"
    ) >"$work/case.log" 2>&1
    status=$?
    set -e
    if [ "$status" = 0 ]; then
        pass "$name ($((SECONDS - begun)) s)"
    else
        fail "$name: exit code $status: $(tail -n 5 "$work/case.log" | tr '\n' '|')"
    fi
}

begin_suite() {
    use_profile dev
    [ -x "$artifacts" ] && [ -x "$artifactsd" ] && [ -x "$testkit" ] || die "the programs are not built" "make build"
    make_work_folder suite
    trap clean_up EXIT INT TERM
}

end_suite() { [ "$failures" = 0 ]; }

# open_workspace embedded|seaweedfs [MOUNT OPTION…]: a fresh workspace in a fresh bucket; sets mnt
# and bucket.
open_workspace() {
    local store=$1
    shift
    bucket=suite
    case $store in
    embedded)
        start_embedded
        use_keys
        use_rclone
        rclone mkdir "store:$bucket"
        ;;
    seaweedfs)
        start_seaweedfs "$bucket"
        use_keys
        use_rclone
        ;;
    esac
    mnt=$work/mnt-$store
    mkdir -p "$mnt"
    "$artifacts" workspace create "on-$store" --bucket "$bucket" --endpoint "$endpoint"
    mounted+=("$mnt")
    "$artifacts" mount "on-$store" "$mnt" "$@"
    mountpoint -q "$mnt"
}

close_workspace() {
    "$artifacts" unmount "$mnt"
    ! mountpoint -q "$mnt"
}

# What the mount shows now must be in the bucket after unmounting, byte for byte.
close_and_compare() {
    mkdir "$work/seen"
    cp -a "$mnt/." "$work/seen/"
    close_workspace
    compare_with_bucket "$work/seen" "$bucket"
    rm -rf "$work/seen"
}

# choose_root_key: sets access_key and secret_key, for an `artifactsd dev` that is started with them.
choose_root_key() {
    access_key=script-root
    secret_key=$(head -c 24 /dev/urandom | base64 | tr -d '+/=')
}

# start_vault: `artifactsd dev` with all of its roles in $work/dev; what it says of itself is in
# $work/dev.json.
start_vault() {
    choose_root_key
    ARTIFACTS_DEV_ACCESS_KEY_ID=$access_key ARTIFACTS_DEV_SECRET_ACCESS_KEY=$secret_key \
        "$artifactsd" dev --data "$work/dev" --listen 127.0.0.1:0 --ready-file "$work/dev.json" >"$work/dev.log" 2>&1 &
    started+=($!)
    wait_for_file "$work/dev.json" $! "$work/dev.log"
}

# run_vault_suite NAME: NAME.py, which is told where everything is.
run_vault_suite() {
    export ARTIFACTS_DAEMON_SOCKET=$work/daemon.sock RESULT length
    (
        umask 077
        cat >"$work/lab.json" <<JSON
{"work": "$work", "artifacts": "$artifacts", "artifactsd": "$artifactsd", "access_key": "$access_key", "secret_key": "$secret_key"}
JSON
    )
    if ! PYTHONPATH=$repo/scripts/suites/vectors "$ARTIFACTS_TOOLS/venv/bin/python3" "$repo/scripts/suites/$1.py" "$work/lab.json" >&2; then
        failures=$((failures + 1))
        tail -n 20 "$work/dev.log" >&2
    fi
}

# start_chain: anvil; sets chain, its address. More of it is in $work/anvil.json.
start_chain() {
    "$testkit" anvil --ready-file "$work/anvil.json" >"$work/anvil.log" 2>&1 &
    started+=($!)
    wait_for_file "$work/anvil.json" $! "$work/anvil.log"
    chain=$(json "$work/anvil.json" endpoint)
}

# chain_key N: the key of its account N.
chain_key() {
    python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))["keys"][int(sys.argv[2])])' "$work/anvil.json" "$1"
}
