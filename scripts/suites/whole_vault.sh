#!/usr/bin/env bash
# The whole vault, each role a process of its own, as `artifactsd dev` runs it: what the three ways to a
# secret give, where keys lie and where they do not, and what somebody with the keys of one part can do.
. "$(dirname "$0")/common.sh"

main() {
    begin_suite
    require_tools
    start_vault
    run_vault_suite whole_vault
    end_suite
}

main
