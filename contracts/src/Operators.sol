// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Owned} from "./Owned.sol";

/// Who may write for an operator.
interface IOperators {
    /// Whether an address may write for an operator.
    function mayWrite(bytes32 operator, address writer) external view returns (bool);
}

/// Operators and the addresses that write for them.
///
/// An operator is a number (an "actor"). That of a wallet is computed here, so a wallet writes for
/// itself and nobody has to allow it. Operators of other kinds are given a controller by the
/// owner, once; from then on only the controller hands the right on.
abstract contract Operators is Owned, IOperators {
    struct Control {
        address controller;
        /// Whether the operator's own wallet has taken it: the owner has no say from then on.
        bool claimed;
    }

    mapping(bytes32 operator => Control) private controls;

    event ControllerChanged(bytes32 indexed operator, address indexed from, address indexed to);

    /// The caller may not write for this operator.
    error NotController(bytes32 operator);
    /// The operator has a controller: only they hand it on.
    error HasController(bytes32 operator);
    /// The zero address controls nothing.
    error NoAddress();

    modifier onlyController(bytes32 operator) {
        if (!mayWrite(operator, msg.sender)) revert NotController(operator);
        _;
    }

    /// The operator that a wallet is: SHA-256 of "artifacts.actor.v1", then the kind "evm" and the
    /// address as "0x" and 40 digits in lower case, each after its length in two bytes.
    function operatorOf(address wallet) public pure returns (bytes32) {
        return sha256(abi.encodePacked("artifacts.actor.v1", uint16(3), "evm", uint16(42), text(wallet)));
    }

    /// Whose address writes for an operator now; zero where none was given or claimed.
    function controllerOf(bytes32 operator) external view returns (address) {
        return controls[operator].controller;
    }

    /// A wallet writes for itself until it has handed that on.
    function mayWrite(bytes32 operator, address writer) public view returns (bool) {
        Control storage control = controls[operator];
        if (control.controller == writer) return writer != address(0);
        return !control.claimed && operatorOf(writer) == operator;
    }

    /// Gives an operator that is no wallet its first controller.
    function assignController(bytes32 operator, address controller) external onlyOwner {
        if (controls[operator].controller != address(0)) revert HasController(operator);
        change(operator, controller);
    }

    /// Hands an operator on to another address.
    function handOver(bytes32 operator, address controller) external onlyController(operator) {
        claim(operator);
        change(operator, controller);
    }

    /// Notes that an operator's own wallet writes for it. A controller whom the owner gave to a
    /// wallet's number, by mistake or not, ends here.
    function claim(bytes32 operator) internal {
        if (controls[operator].claimed || operatorOf(msg.sender) != operator) return;
        controls[operator].claimed = true;
        change(operator, msg.sender);
    }

    function change(bytes32 operator, address controller) private {
        if (controller == address(0)) revert NoAddress();
        emit ControllerChanged(operator, controls[operator].controller, controller);
        controls[operator].controller = controller;
    }

    /// An address as "0x" and 40 digits in lower case.
    function text(address wallet) private pure returns (bytes memory digits) {
        bytes16 alphabet = "0123456789abcdef";
        bytes20 raw = bytes20(wallet);
        digits = new bytes(42);
        digits[0] = "0";
        digits[1] = "x";
        for (uint256 i = 0; i < 20; i++) {
            digits[2 + 2 * i] = alphabet[uint8(raw[i]) >> 4];
            digits[3 + 2 * i] = alphabet[uint8(raw[i]) & 0x0f];
        }
    }
}
