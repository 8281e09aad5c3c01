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
