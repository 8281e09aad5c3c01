// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// A contract with one owner, who hands it on in two steps, so that it never goes to an address
/// that nobody holds.
abstract contract Owned {
    /// Who runs the deployment.
    address public owner;
    /// Who was offered it and has not accepted yet.
    address public offeredTo;

    event OwnershipOffered(address indexed from, address indexed to);
    event OwnershipAccepted(address indexed from, address indexed to);

    /// The caller is not the owner.
    error NotOwner();
    /// The caller was not offered the contract.
    error NotOffered();

    constructor() {
        owner = msg.sender;
        emit OwnershipAccepted(address(0), msg.sender);
    }

    modifier onlyOwner() {
        if (msg.sender != owner) revert NotOwner();
        _;
    }

    /// Offers the contract to another address; the zero address takes an offer back.
    function offerOwnership(address to) external onlyOwner {
        offeredTo = to;
        emit OwnershipOffered(owner, to);
    }

    /// Accepts the offer.
    function acceptOwnership() external {
        if (msg.sender != offeredTo) revert NotOffered();
        emit OwnershipAccepted(owner, msg.sender);
        owner = msg.sender;
        offeredTo = address(0);
    }
}
