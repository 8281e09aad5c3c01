#!/usr/bin/env bash
# The whole vault on a real chain (anvil): what is granted and revoked there counts in the worker's process
# within two seconds, and an RPC that is dead, slow, flaky or lies opens nothing.
. "$(dirname "$0")/common.sh"

main() {
    begin_suite
    require_tools
    require_contract_tools
    choose_root_key
    start_chain
    # It starts the vault itself, once its own RPCs stand before the chain.
    run_vault_suite vault_chain
    end_suite
}

main
