#!/usr/bin/env bash
# `make check`: what must hold before a change is shared.
. "$(dirname "$0")/lib.sh"

require_rust
require_tools

say "format"
cargo fmt --all --check
say "clippy, warnings are errors"
cargo clippy --locked --workspace --all-targets -- -D warnings
say "arrows between crates, banned libraries, licences of what is linked"
cargo test --quiet --locked -p artifacts-testkit --test arrows
say "licences and sources of everything in Cargo.lock"
cargo deny --locked --log-level error check --hide-inclusion-graph licenses bans sources
say "nothing of a machine or a registry in the sources"
hosts='(crates:io|pypi:org|npmjs:org|debian:org)'
if git grep -nE "${hosts//:/[.]}" -- . ':!Cargo.lock'; then
    die "a registry's host is named in the files above"
fi
say "all checks passed"
