#!/usr/bin/env bash
# `make test` (short) and `make test-long` (long): every test of every crate with the real
# servers, then the suites on real mounts. The last line counts them all.
. "$(dirname "$0")/lib.sh"

length=${1:-short}
[ "$length" = short ] || [ "$length" = long ] || die "usage: test.sh short|long"

results=$(mktemp -d "${TMPDIR:-/tmp}/artifacts-results.XXXXXX")
trap 'rm -rf "$results"' EXIT
passed=0 failed=0 skipped=0

main() {
    require_packages git=git fusermount3=fuse3 age=age dbus-daemon=dbus-daemon \
        gnome-keyring-daemon=gnome-keyring secret-tool=libsecret-tools mkfs.ext4=e2fsprogs npm=npm \
        pg_ctlcluster=postgresql
    require_rust
    require_tools
    require_contract_tools
    build
    rust_tests
    if [ -e /dev/fuse ]; then
        suites
    else
        skip_suites "/dev/fuse is not there: this kernel or container cannot mount"
    fi
    closing_lines
}

build() {
    say "building"
    # Nobody edits between two of these builds, and the files for that take gigabytes.
    export CARGO_INCREMENTAL=0
    make_room
    cargo build --locked --workspace
    cargo nextest run --locked --workspace --no-run
    use_profile dev
}

# A missing server fails here instead of skipping; what a test skips for another reason it
# writes into ARTIFACTS_SKIP_LOG.
rust_tests() {
    say "tests of the crates, with real servers"
    touch "$results/skips"
    local status=0 profile=ci long=()
    # Not even empty in the short form: the tests ask whether it is there.
    [ "$length" = short ] || long=(ARTIFACTS_LONG=1)
    env -u ARTIFACTS_LONG ARTIFACTS_REAL_SERVERS=1 ARTIFACTS_SKIP_LOG="$results/skips" "${long[@]}" \
        cargo nextest run --locked --workspace --profile "$profile" 2>&1 | tee "$results/nextest" >&2 ||
        status=$?
    count_nextest "$status"
    if grep -q '^SKIP ' "$results/skips"; then
        say "skipped inside the tests:"
        sort -u "$results/skips" >&2
    fi
}

# "Summary [ 1.9s] 17 tests run: 16 passed (1 slow), 1 failed, 0 skipped"
count_nextest() {
    local line in_tests
    line=$(sed 's/\x1b\[[0-9;]*m//g' "$results/nextest" | grep 'Summary \[' | tail -1 || true)
    if [ -z "$line" ]; then
        failed=$((failed + 1))
        note "the test runner gave no summary (exit code $1)"
        return
    fi
    in_tests=$(sort -u "$results/skips" | grep -c '^SKIP ' || true)
    add "$(number "$line" passed)" "$(($(number "$line" failed) + $(number "$line" 'timed out')))" 0
    passed=$((passed - in_tests))
    add 0 0 "$(($(number "$line" skipped) + in_tests))"
    if [ "$1" != 0 ] && [ "$failed" = 0 ]; then failed=1; fi
    # What nextest leaves out is marked #[ignore] with its reason in the source.
    if [ "$(number "$line" skipped)" != 0 ]; then
        note "$(number "$line" skipped) tests are marked #[ignore]; the reasons stand beside them:"
        git grep -n '#\[ignore' -- 'crates/*.rs' >&2 || true
    fi
}

number() {
    local found
    found=$(grep -oE "[0-9]+ $2" <<<"$1" | head -1 | grep -oE '^[0-9]+' || true)
    echo "${found:-0}"
}

add() {
    passed=$((passed + $1)) failed=$((failed + $2)) skipped=$((skipped + $3))
}

# Each suite is a program that takes `short` or `long`, explains itself on stderr, writes one
# line per case to the file in RESULT (`pass NAME`, `fail NAME: why`, `skip NAME: why`) and exits 0 when
# nothing failed.
suites() {
    local suite name
    for suite in scripts/suites/*.sh; do
        name=$(basename "$suite" .sh)
        [ "$name" != common ] || continue
        say "suite $name ($length)"
        local status=0
        RESULT=$results/$name
        : >"$RESULT"
        RESULT=$RESULT timeout --kill-after=60 "$(limit)" bash "$suite" "$length" >&2 || status=$?
        count_suite "$name" "$status"
    done
}

skip_suites() {
    local suite
    for suite in scripts/suites/*.sh; do
        [ "$(basename "$suite")" != common.sh ] || continue
        note "skip $(basename "$suite" .sh): $1"
        add 0 0 1
    done
}

limit() { if [ "$length" = long ]; then echo 4h; else echo 15m; fi; }

count_suite() {
    local p f s
    p=$(grep -c '^pass ' "$results/$1" || true)
    f=$(grep -c '^fail ' "$results/$1" || true)
    s=$(grep -c '^skip ' "$results/$1" || true)
    if [ "$2" != 0 ] && [ "$f" = 0 ]; then
        echo "fail $1: ended with exit code $2" >>"$results/$1"
        f=1
    fi
    if [ $((p + f + s)) = 0 ]; then
        echo "fail $1: reported nothing" >>"$results/$1"
        f=1
    fi
    add "$p" "$f" "$s"
    grep -hE '^fail ' "$results/$1" >&2 || true
    group_skips "$results/$1" >&2
    note "$1: $p passed, $f failed, $s skipped"
}

# Every skip with its reason; cases of one reason together.
group_skips() {
    grep -E '^skip ' "$1" | sed -E 's/^skip (([^:]|:[^ ])*): (.*)$/\3\t\1/' | sort |
        awk -F '\t' '
            $1 != reason { if (n) show(); reason = $1; n = 0; names = "" }
            { n++; names = names (n > 1 ? ", " : "") $2 }
            END { if (n) show() }
            function show() { printf "skip (%d): %s: %s\n", n, reason, names }
        ' || true
}

closing_lines() {
    local code=0
    if [ "$failed" != 0 ]; then
        code=1
        say "failed:"
        sed 's/\x1b\[[0-9;]*m//g' "$results/nextest" | grep -E '^ +(FAIL|TIMEOUT|SIG[A-Z]+|ABORT) ' | sort -u >&2 || true
        grep -hE '^fail ' "$results"/* >&2 || true
    fi
    echo "$passed passed, $failed failed, $skipped skipped"
    exit "$code"
}

main
