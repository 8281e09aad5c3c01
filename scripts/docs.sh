#!/usr/bin/env bash
# `make docs`: docs/reference from the code, and the API documentation in target/doc.
. "$(dirname "$0")/lib.sh"

require_rust
cargo build --locked --workspace
use_profile dev
mkdir -p docs/reference
for page in commands config environment exit-codes error-codes; do
    say "docs/reference/$page.md"
    "$artifacts" reference "$page" >"docs/reference/$page.md"
done
for page in commands:artifactsd broker-config:broker-config orchestrator-config:orchestrator-config; do
    say "docs/reference/${page#*:}.md"
    "$artifactsd" reference "${page%%:*}" >"docs/reference/${page#*:}.md"
done
say "docs/reference/openapi.json"
"$artifactsd" reference openapi >docs/reference/openapi.json
cargo doc --locked --workspace --no-deps
