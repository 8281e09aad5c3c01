#!/usr/bin/env bash
# `make demo`: the main job on a real source tree, from an empty machine to a proof by
# somebody else's program. Leaves nothing running and nothing behind but the build and .tools.
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
Nothing is left running.
EOF
}

main
