#!/usr/bin/env bash
# contracts: what is committed in contracts/compiled is what the committed compiler makes of
# contracts/src, and a changed source is noticed. The contracts' tests run on anvil, with the crates'.
. "$(dirname "$0")/common.sh"

main() {
    make_work_folder contracts
    trap clean_up EXIT INT TERM
    require_contract_tools
    check "contracts: compiled/ is what src/ gives" compiled_is_current "$repo/contracts"
    check "contracts: a source that was changed is noticed" change_is_noticed
    end_suite
}

compiled_is_current() { CONTRACTS=$1 node "$ARTIFACTS_TOOLS/contracts/compile.js" --check; }

change_is_noticed() {
    mkdir "$work/contracts"
    cp -r "$repo/contracts/src" "$repo/contracts/compiled" "$work/contracts/"
    sed -i 's/currentEpoch = 1;/currentEpoch = 2;/' "$work/contracts/src/EpochCounter.sol"
    if compiled_is_current "$work/contracts" 2>"$work/said"; then return 1; fi
    [ "$(cat "$work/said")" = "compiled/EpochCounter.json is not what src/ gives" ]
}

main
