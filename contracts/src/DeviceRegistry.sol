// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Operators} from "./Operators.sol";

/// Which devices act for whom. A device is the SHA-256 thumbprint of its key (RFC 7638).
///
/// Each operator has a list of their own: a registration proves nothing of the key, so who lists
/// another's device stands in nobody's way and says nothing but of themselves.
contract DeviceRegistry is Operators {
    struct Device {
        bytes32 operator;
        bytes32 actor;
        uint32 roles;
        uint8 tier;
        uint64 registeredAt;
        bool revoked;
    }

    /// Store, fetch and list.
    uint32 public constant ROLE_USE = 1;
    /// Teardown; for an operator's own devices only.
    uint32 public constant ROLE_MASTER = 2;

    /// By the operator's generation; see `Operators`.
    mapping(bytes32 operator => mapping(uint64 generation => mapping(bytes32 device => Device))) private devices;
    mapping(bytes32 operator => mapping(uint64 generation => bytes32[])) private listed;
    /// Who listed a device before anybody else did.
    mapping(bytes32 device => bytes32 operator) private firstOf;

    event DeviceRegistered(
        bytes32 indexed device, bytes32 indexed operator, bytes32 indexed actor, uint32 roles, uint8 tier
    );
    event DeviceRevoked(bytes32 indexed device, bytes32 indexed operator);

    /// The device is registered, or was and is revoked: it does not come back.
    error DeviceKnown(bytes32 device);
    error DeviceUnknown(bytes32 device);
    error DeviceAlreadyRevoked(bytes32 device);
    /// No role, a role that there is not, or MASTER for a device that is an agent's.
    error RolesInvalid(uint32 roles);

    /// Registers a device of an operator's, for the operator or an agent of theirs.
    function register(bytes32 operator, bytes32 device, bytes32 actor, uint32 roles, uint8 tier) external {
        claimOwn(operator);
        if (!mayWrite(operator, msg.sender)) revert NotController(operator);
        Device storage known = find(operator, device);
        if (known.registeredAt != 0) revert DeviceKnown(device);
        if (roles == 0 || roles > (ROLE_USE | ROLE_MASTER)) revert RolesInvalid(roles);
        if (roles & ROLE_MASTER != 0 && actor != operator) revert RolesInvalid(roles);
        known.operator = operator;
        known.actor = actor;
        known.roles = roles;
        known.tier = tier;
        known.registeredAt = uint64(block.timestamp);
        listed[operator][generationOf(operator)].push(device);
        if (firstOf[device] == 0) firstOf[device] = operator;
        emit DeviceRegistered(device, operator, actor, roles, tier);
    }

    /// Revokes a device of an operator's, for good.
    function revoke(bytes32 operator, bytes32 device) external onlyController(operator) {
        Device storage known = find(operator, device);
        if (known.registeredAt == 0) revert DeviceUnknown(device);
        if (known.revoked) revert DeviceAlreadyRevoked(device);
        known.revoked = true;
        emit DeviceRevoked(device, operator);
    }

    /// What an operator says of a device; `registeredAt` is 0 for one that they never registered.
    /// This is what decisions rest on.
    function getDeviceOf(bytes32 operator_, bytes32 device)
        external
        view
        returns (bytes32 operator, bytes32 actor, uint32 roles, uint8 tier, uint64 registeredAt, bool revoked)
    {
        return told(find(operator_, device));
    }

    /// What the operator says of a device who was the first to register it: right wherever nobody
    /// squats it. For looking around; a decision asks `getDeviceOf`.
    function getDevice(bytes32 device)
        external
        view
        returns (bytes32 operator, bytes32 actor, uint32 roles, uint8 tier, uint64 registeredAt, bool revoked)
    {
        return told(find(firstOf[device], device));
    }

    function find(bytes32 operator, bytes32 device) private view returns (Device storage) {
        return devices[operator][generationOf(operator)][device];
    }

    function told(Device storage known)
        private
        view
        returns (bytes32 operator, bytes32 actor, uint32 roles, uint8 tier, uint64 registeredAt, bool revoked)
    {
        return (known.operator, known.actor, known.roles, known.tier, known.registeredAt, known.revoked);
    }

    /// How many devices an operator has registered, the revoked ones too.
    function deviceCount(bytes32 operator) external view returns (uint256) {
        return listed[operator][generationOf(operator)].length;
    }

    /// A part of an operator's devices, in the order in which they were registered.
    function devicesOf(bytes32 operator, uint256 from, uint256 most) external view returns (bytes32[] memory part) {
        bytes32[] storage all = listed[operator][generationOf(operator)];
        if (from >= all.length) return part;
        uint256 length = all.length - from;
        if (length > most) length = most;
        part = new bytes32[](length);
        for (uint256 i = 0; i < length; i++) {
            part[i] = all[from + i];
        }
    }
}
