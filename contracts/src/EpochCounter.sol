// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Owned} from "./Owned.sol";

/// The epoch of the master secret that counts. It only grows, by one, so no envelope of an older
/// epoch becomes a current one again.
contract EpochCounter is Owned {
    /// The current epoch, from 1.
    uint256 public currentEpoch = 1;

    event EpochAdvanced(uint256 indexed epoch);

    /// Begins the next epoch.
    function advance() external onlyOwner returns (uint256) {
        currentEpoch += 1;
        emit EpochAdvanced(currentEpoch);
        return currentEpoch;
    }
}
