#!/usr/bin/env bash
# `make bench`: builds the release programs and runs bench.py with them. Arguments go through:
# `make bench BENCH="--only ls --peers us,rclone --rounds 3 --latency 0"`.
. "$(dirname "$0")/../lib.sh"

require_rust
require_fuse
require_bench_tools
require_contract_tools
require_packages s3fs=s3fs fio=fio dbus-daemon=dbus-daemon gnome-keyring-daemon=gnome-keyring \
    wrk=wrk pg_ctlcluster=postgresql unison=unison
say "building the release programs"
cargo build --locked --release --workspace
use_profile release
exec python3 scripts/bench/bench.py --artifacts "$artifacts" --artifactsd "$artifactsd" --testkit "$testkit" \
    --load "${testkit%/*}/artifacts-load" "$@"
