#!/usr/bin/env bash
# Programs that people run in a folder: git, SQLite in WAL mode, npm, a Python environment, cargo.
# Then everything that the mount showed is compared with the bucket.
. "$(dirname "$0")/common.sh"

main() {
    begin_suite
    local stores=(embedded) store
    [ "$length" = short ] || stores+=(seaweedfs)
    for store in "${stores[@]}"; do
        open_workspace "$store" >&2
        check "git on $store" with_git
        check "sqlite in WAL mode on $store" with_sqlite
        check "python venv on $store" with_venv
        check "cargo build on $store" with_cargo
        check "npm install on $store" with_npm
        check "everything is in the bucket of $store" close_and_compare
    done
    end_suite
}

with_git() {
    export GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_SYSTEM=/dev/null
    cp -r "$repo/crates" "$mnt/tree"
    cd "$mnt/tree"
    git init --quiet --initial-branch=main
    git config user.name suite
    git config user.email suite@localhost
    git add --all
    git commit --quiet --message one
    echo "one more line" >>core/model/src/lib.rs
    git commit --quiet --all --message two
    git checkout --quiet -b other HEAD~1
    git mv core moved
    git commit --quiet --message three
    git checkout --quiet main
    git merge --quiet --message merge other
    git gc --quiet
    git fsck --full --strict --no-progress
    [ -z "$(git status --porcelain)" ]
    git clone --quiet . "$mnt/clone"
    diff -r --exclude=.git "$mnt/tree" "$mnt/clone"
}

with_sqlite() {
    python3 - "$mnt/wal.db" <<'PY'
import sqlite3, subprocess, sys
path = sys.argv[1]
db = sqlite3.connect(path, isolation_level=None)
mode = db.execute("pragma journal_mode = wal").fetchone()[0]
assert mode == "wal", mode
db.execute("create table t (writer int, n int)")
writer = """
import sqlite3, sys
db = sqlite3.connect(sys.argv[1], timeout=60, isolation_level=None)
for n in range(200):
    db.execute("begin immediate")
    db.execute("insert into t values (?, ?)", (int(sys.argv[2]), n))
    db.execute("commit")
"""
children = [subprocess.Popen([sys.executable, "-c", writer, path, str(i)]) for i in range(3)]
seen = 0
while any(c.poll() is None for c in children):
    now = db.execute("select count(*) from t").fetchone()[0]
    assert now >= seen, (now, seen)
    seen = now
assert all(c.returncode == 0 for c in children)
assert db.execute("select count(*) from t").fetchone()[0] == 600
assert db.execute("pragma integrity_check").fetchone()[0] == "ok"
db.execute("pragma wal_checkpoint(truncate)")
db.close()
PY
}

with_venv() {
    python3 -m venv "$mnt/venv"
    "$mnt/venv/bin/python" -m pip --version
    "$mnt/venv/bin/python" -m compileall -q "$mnt/venv/lib"
    "$mnt/venv/bin/python" -c 'import pip, json, sqlite3'
}

with_cargo() {
    # The toolchain of this repository, and none of its settings.
    RUSTUP_TOOLCHAIN=$(cd "$repo" && rustup show active-toolchain 2>/dev/null | cut -d' ' -f1)
    export RUSTUP_TOOLCHAIN
    [ -n "$RUSTUP_TOOLCHAIN" ] || unset RUSTUP_TOOLCHAIN
    unset CARGO_TARGET_DIR RUSTFLAGS
    cd "$mnt"
    cargo new --quiet --vcs none app
    cd app
    mkdir -p src/bin
    echo 'pub fn answer() -> u32 { 42 }' >src/lib.rs
    echo 'fn main() { println!("{}", app::answer()); }' >src/main.rs
    cargo build --quiet --offline
    [ "$(./target/debug/app)" = 42 ]
    # A second build after an edit goes through the incremental cache.
    sed -i 's/42/43/' src/lib.rs
    cargo build --quiet --offline
    [ "$(./target/debug/app)" = 43 ]
    cargo test --quiet --offline
}

with_npm() {
    mkdir "$mnt/npm"
    cd "$mnt/npm"
    npm init --yes --silent >/dev/null
    npm install --no-audit --no-fund --loglevel=error --cache "$work/npm-cache" express@4
    node -e 'require("express")()'
    npm ls --all >/dev/null
}

main
