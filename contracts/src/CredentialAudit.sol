// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IOperators} from "./Operators.sol";

/// Anchors of operators' audit logs: how many records there were, and the hash that stands for
/// all of them. A log that was cut or rewritten afterwards does not match its anchors.
contract CredentialAudit {
    struct Anchor {
        bytes32 root;
        uint64 count;
        uint64 anchoredAt;
    }

    /// Who may write for an operator: the registry of devices knows.
    IOperators public immutable operators;

    /// By the operator's generation (see `Operators`): who wrote for an operator before does not
    /// decide what follows. The events tell of all generations.
    mapping(bytes32 operator => mapping(uint64 generation => Anchor[])) private anchors;

    event Anchored(bytes32 indexed operator, uint256 indexed index, bytes32 root, uint64 count);

    /// The caller may not write for this operator.
    error NotController(bytes32 operator);
    /// A log only grows.
    error CountNotGrowing(uint64 last, uint64 given);

    constructor(IOperators operators_) {
        operators = operators_;
    }

    /// Adds an anchor. None is ever changed or taken away.
    function append(bytes32 operator, bytes32 root, uint64 count) external returns (uint256 index) {
        if (!operators.mayWrite(operator, msg.sender)) revert NotController(operator);
        Anchor[] storage all = current(operator);
        index = all.length;
        uint64 last = index == 0 ? 0 : all[index - 1].count;
        if (count <= last) revert CountNotGrowing(last, count);
        all.push(Anchor(root, count, uint64(block.timestamp)));
        emit Anchored(operator, index, root, count);
    }

    /// How many anchors an operator has.
    function anchorCount(bytes32 operator) external view returns (uint256) {
        return current(operator).length;
    }

    /// One anchor, counted from 0.
    function anchorAt(bytes32 operator, uint256 index)
        external
        view
        returns (bytes32 root, uint64 count, uint64 anchoredAt)
    {
        Anchor storage anchor = current(operator)[index];
        return (anchor.root, anchor.count, anchor.anchoredAt);
    }

    function current(bytes32 operator) private view returns (Anchor[] storage) {
        return anchors[operator][operators.generationOf(operator)];
    }
}
