#!/usr/bin/env bash
# `make demo`: the main job on a real source tree, from an empty machine to a proof by
# somebody else's program; and then a vault with an agent's key. Leaves nothing running and nothing behind but the build and .tools.
. "$(dirname "$0")/lib.sh"

# A published crate of well over a thousand files; Cargo.lock says which version.
source_crate=aws-sdk-s3
bucket=demo
workspace=demo

main() {
    install_what_is_missing
    build
    make_work_folder demo
    trap clean_up EXIT INT TERM
    start_the_store
    create_and_mount
    unpack_a_source_tree
    search_it
    keep_it_in_git
    unmount_it
    prove_it_from_outside
    start_the_vault
    register_this_machine
    keep_a_key
    take_the_key_back
    clear_away
    summary
}

install_what_is_missing() {
    require_packages git=git tar=tar gzip=gzip
    require_rust
    require_fuse
    require_tools
}

build() {
    say "building (the first time takes some minutes)"
    cargo build --locked -p artifacts-cli -p artifacts-artifactsd
    use_profile dev
}

start_the_store() {
    say "starting the embedded store"
    start_embedded
    use_keys
    use_rclone
    note "S3 at $endpoint, data in $work/store"
}

create_and_mount() {
    say "creating the workspace '$workspace' in bucket '$bucket' and mounting it"
    mountpoint_path=$work/mnt
    mkdir "$mountpoint_path"
    rclone mkdir "store:$bucket"
    "$artifacts" workspace create "$workspace" --bucket "$bucket" --endpoint "$endpoint" >&2
    # From here on the keys come from the cache that `create` wrote.
    unset ARTIFACTS_S3_ACCESS_KEY_ID ARTIFACTS_S3_SECRET_ACCESS_KEY
    local begun
    begun=$(now_ms)
    mounted+=("$mountpoint_path")
    "$artifacts" mount "$workspace" "$mountpoint_path" >&2
    mount_ms=$(($(now_ms) - begun))
    mountpoint -q "$mountpoint_path" || die "nothing is mounted at $mountpoint_path"
}

unpack_a_source_tree() {
    local archive begun
    archive=$(published_archive)
    say "unpacking $(basename "$archive") into the workspace"
    begun=$(now_ms)
    tar xzf "$archive" -C "$mountpoint_path" --no-same-owner
    unpack_ms=$(($(now_ms) - begun))
    tree=$mountpoint_path/$(basename "$archive" .crate)
    # The same tree on a plain disk: what the workspace is compared with.
    mkdir "$work/plain"
    tar xzf "$archive" -C "$work/plain" --no-same-owner
    files=$(find "$tree" -type f | wc -l)
    [ "$files" -ge 1000 ] || die "expected a tree of at least 1000 files, found $files"
    diff -r "$work/plain/$(basename "$tree")" "$tree" || die "the mount shows another tree than was unpacked"
}

# Where cargo keeps the archive as it was published.
published_archive() {
    cargo fetch --locked >&2
    local version
    version=$(grep -A1 "^name = \"$source_crate\"$" Cargo.lock | sed -n 's/^version = "\(.*\)"$/\1/p')
    local found
    found=$(find "${CARGO_HOME:-$HOME/.cargo}/registry/cache" -name "$source_crate-$version.crate" | head -1)
    [ -n "$found" ] || die "cargo did not keep $source_crate-$version.crate"
    echo "$found"
}

search_it() {
    say "searching it"
    local begun
    begun=$(now_ms)
    matches=$(grep -rl 'If-None-Match' "$tree" | wc -l)
    grep_ms=$(($(now_ms) - begun))
    local expected
    expected=$(grep -rl 'If-None-Match' "$work/plain" | wc -l)
    [ "$matches" = "$expected" ] || die "grep found $matches files in the mount, $expected on disk"
    [ "$matches" -gt 0 ] || die "grep found nothing"
}

keep_it_in_git() {
    say "making a git repository of it"
    local begun
    begun=$(now_ms)
    (
        cd "$tree"
        export GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_SYSTEM=/dev/null
        git init --quiet --initial-branch=main
        git add --all
        git -c user.name=demo -c user.email=demo@localhost commit --quiet --message "The tree as published"
        git fsck --full --strict --no-progress >&2
        [ -z "$(git status --porcelain)" ] || die "git sees changes that nobody made"
    )
    git_ms=$(($(now_ms) - begun))
}

unmount_it() {
    say "unmounting (what is pending goes to the bucket first)"
    # The last look through the mount, for the comparison below.
    mkdir "$work/seen"
    cp -a "$mountpoint_path/." "$work/seen/"
    seen=$(find "$work/seen" -type f | wc -l)
    local begun
    begun=$(now_ms)
    "$artifacts" unmount "$mountpoint_path" >&2
    unmount_ms=$(($(now_ms) - begun))
    if mountpoint -q "$mountpoint_path"; then die "$mountpoint_path is still mounted"; fi
}

prove_it_from_outside() {
    say "asking rclone for every file in the bucket"
    compare_with_bucket "$work/seen" "$bucket"
    [ "$proved" -ge "$files" ] || die "rclone compared $proved files, expected at least $files"
}

# The second act: an agent's key, sealed in the operator's own bucket.

start_the_vault() {
    say "starting a vault: broker, signer, worker and a store, each a process of its own"
    "$artifactsd" dev --data "$work/vault" --listen 127.0.0.1:0 --ready-file "$work/vault.json" >"$work/vault.log" 2>&1 &
    vault_pid=$!
    started+=($vault_pid)
    wait_for_file "$work/vault.json" $vault_pid "$work/vault.log"
    export ARTIFACTS_DAEMON_SOCKET=$work/daemon.sock
    cp "$work/vault/vault/client.toml" "$XDG_CONFIG_HOME/artifacts/config.toml"
    chmod 600 "$XDG_CONFIG_HOME/artifacts/config.toml"
}

register_this_machine() {
    say "logging in as the operator, and registering this machine"
    "$artifacts" --format json vault login --bootstrap <"$work/vault/vault/bootstrap-token" >"$work/login.json"
    actor=$(json "$work/login.json" operator)
    "$artifacts" registry key show | "$artifactsd" registry pin --data "$work/vault/vault/registry" --operator "$actor" --key -
    "$artifacts" device register --role master --scope openrouter >&2
    "$artifacts" daemon start >&2
}

keep_a_key() {
    say "storing an agent's key, reading it, and running an agent with it"
    api_key=sk-or-v1-$(head -c 24 /dev/urandom | base64 | tr -d '+/=')
    printf %s "$api_key" | "$artifacts" secret store openrouter - >&2
    [ "$("$artifacts" secret read openrouter)" = "$api_key" ] || die "another key was read than was stored"
    local seen
    # shellcheck disable=SC2016 # The agent's own shell expands it.
    seen=$("$artifacts" run --env OPENROUTER_API_KEY=openrouter -- sh -c 'printf %s "$OPENROUTER_API_KEY"')
    [ "$seen" = "$api_key" ] || die "the agent saw another key"
    blob=bots/$actor/credentials/openrouter.enc
    local found
    found=$(find "$work/vault" -type f -print0 | xargs -0 grep -lF "$api_key" || true)
    [ -z "$found" ] || die "the key lies open in $found"
}

take_the_key_back() {
    say "revoking the scope: the next request is refused"
    "$artifacts" scope revoke openrouter >&2
    local begun status=0
    begun=$(now_ms)
    while "$artifacts" secret read openrouter >/dev/null 2>"$work/refused"; do
        [ $(($(now_ms) - begun)) -lt 5000 ] || die "the key is still read five seconds after its scope was revoked"
    done
    revoked_ms=$(($(now_ms) - begun))
    "$artifacts" secret read openrouter >/dev/null 2>"$work/refused" || status=$?
    [ "$status" -eq 4 ] || die "expected a refusal (exit 4), got exit $status: $(cat "$work/refused")"
    grep -q scope_denied "$work/refused" || die "refused for another reason: $(cat "$work/refused")"
    "$artifacts" secret teardown --yes >&2
    "$artifacts" daemon stop >&2
    kill "$vault_pid"
    wait "$vault_pid" || die "the vault ended with an error: $(tail -5 "$work/vault.log")"
}

# Ends what was started and looks that it is gone: processes, mounts and files.
clear_away() {
    trap - EXIT INT TERM
    (clean_up) || true
    local left
    left=$(grep -F " $work/" /proc/self/mountinfo || true)
    [ -z "$left" ] || die "still mounted: $left"
    # The background mount and the store have the folder in their arguments. The pattern comes by a
    # file, or `grep` would find itself.
    left=$(grep -lsF -f <(echo "$work") /proc/[0-9]*/cmdline | tr -dc '0-9\n' | tr '\n' ' ' || true)
    [ -z "${left// /}" ] || die "still running: $left"
    [ -n "${ARTIFACTS_KEEP:-}" ] || [ ! -e "$work" ] || die "$work is still there"
}

summary() {
    cat <<EOF

A workspace, from nothing to proof
  mounted in                 $mount_ms ms
  source tree                $files files of $(basename "$tree"), unpacked in $unpack_ms ms
  grep -r                    $matches files match, $grep_ms ms, the same as on disk
  git init, add, commit, fsck  clean, $git_ms ms
  unmounted in               $unmount_ms ms, nothing pending
  in the bucket              $proved of $seen files, each compared byte for byte by rclone

A vault, from nothing to a refusal
  an agent's key             sealed at $blob, read back, given to an agent by its environment
  in the open                nowhere in the files of the store, the servers and this machine's daemon
  scope revoked              refused ${revoked_ms} ms later (scope_denied); then torn down
Nothing is left running.
EOF
}

main
