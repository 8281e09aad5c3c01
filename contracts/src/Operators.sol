// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Owned} from "./Owned.sol";

/// Who may write for an operator.
interface IOperators {
    /// Whether an address may write for an operator.
    function mayWrite(bytes32 operator, address writer) external view returns (bool);

    /// What was written for an operator counts in the generation in which it was written.
    function generationOf(bytes32 operator) external view returns (uint64);
}

/// Operators and the addresses that write for them.
///
/// An operator is a number (an "actor"). That of a wallet is computed here, so a wallet writes for
/// itself and nobody has to allow it. Operators of other kinds are given a controller by the
/// owner, once; from then on only the controller hands the right on.
///
/// Numbers do not tell their kind, so the owner can give a controller to a wallet's number too.
/// The wallet ends that with `claim`, which begins a new generation: nothing that was written for
/// the number before counts any more.
abstract contract Operators is Owned, IOperators {
    struct Control {
        address controller;
        /// Whether the operator's own wallet has taken it: the owner has no say from then on.
        bool claimed;
        uint64 generation;
    }

    mapping(bytes32 operator => Control) private controls;

    event ControllerChanged(bytes32 indexed operator, address indexed from, address indexed to);
    event GenerationBegun(bytes32 indexed operator, uint64 generation);

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

    /// The controller writes; where there is none, the wallet whose number it is.
    function mayWrite(bytes32 operator, address writer) public view returns (bool) {
        address controller = controls[operator].controller;
        if (controller != address(0)) return controller == writer;
        return operatorOf(writer) == operator;
    }

    /// The generation of what counts for an operator, from 0.
    function generationOf(bytes32 operator) public view returns (uint64) {
        return controls[operator].generation;
    }

    /// Whether the owner gave a wallet's number to somebody, and the wallet has not taken it back.
    function isClaimable(address wallet) public view returns (bool) {
        Control storage control = controls[operatorOf(wallet)];
        return !control.claimed && control.controller != address(0);
    }

    /// The caller's own number is theirs from now on. Whom the owner gave it to writes no more,
    /// and what they wrote does not count.
    function claim() external {
        claimOwn(operatorOf(msg.sender));
    }

    /// Gives an operator that is no wallet its first controller.
    function assignController(bytes32 operator, address controller) external onlyOwner {
        if (controls[operator].controller != address(0)) revert HasController(operator);
        change(operator, controller);
    }

    /// Hands an operator on to another address.
    function handOver(bytes32 operator, address controller) external onlyController(operator) {
        claimOwn(operator);
        change(operator, controller);
    }

    /// Notes that an operator's own wallet writes for it; for any other caller it does nothing.
    /// After it the owner has no say in this number.
    function claimOwn(bytes32 operator) internal {
        Control storage control = controls[operator];
        if (control.claimed || operatorOf(msg.sender) != operator) return;
        control.claimed = true;
        if (control.controller != address(0)) {
            control.generation += 1;
            emit GenerationBegun(operator, control.generation);
        }
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
