//! The contracts as they are called. `contracts/compiled/` has the whole interface; a test
//! compares the two.

#![allow(missing_docs, reason = "described in the contracts' sources")]

alloy_sol_types::sol! {
    contract DeviceRegistry {
        function getDevice(bytes32 device) external view returns (bytes32 operator, bytes32 actor, uint32 roles, uint8 tier, uint64 registeredAt, bool revoked);
        function getDeviceOf(bytes32 operator_, bytes32 device) external view returns (bytes32 operator, bytes32 actor, uint32 roles, uint8 tier, uint64 registeredAt, bool revoked);
        function register(bytes32 operator, bytes32 device, bytes32 actor, uint32 roles, uint8 tier) external;
        function revoke(bytes32 operator, bytes32 device) external;
        function deviceCount(bytes32 operator) external view returns (uint256);
        function devicesOf(bytes32 operator, uint256 from, uint256 most) external view returns (bytes32[] memory part);
        function operatorOf(address wallet) external pure returns (bytes32);
        function mayWrite(bytes32 operator, address writer) external view returns (bool);
        function generationOf(bytes32 operator) external view returns (uint64);
        function isClaimable(address wallet) external view returns (bool);
        function claim() external;
        function controllerOf(bytes32 operator) external view returns (address);
        function assignController(bytes32 operator, address controller) external;
        function handOver(bytes32 operator, address controller) external;
        function offerOwnership(address to) external;
        function acceptOwnership() external;

        error NotOwner();
        error NotOffered();
        error NotController(bytes32 operator);
        error HasController(bytes32 operator);
        error NoAddress();
        error DeviceKnown(bytes32 device);
        error DeviceUnknown(bytes32 device);
        error DeviceAlreadyRevoked(bytes32 device);
        error RolesInvalid(uint32 roles);
    }

    contract ScopeContract {
        struct Scope {
            bytes32 actor;
            bytes32 service;
            bool inScope;
            bool readOnly;
        }

        constructor(address operators_);
        function setScope(bytes32 operator, bytes32 actor, bytes32[] calldata services, bool readOnly) external;
        function revokeScope(bytes32 operator, bytes32 actor, bytes32[] calldata services) external;
        function isServiceInScope(bytes32 operator, bytes32 actor, bytes32 service) external view returns (bool inScope, bool readOnly);
        function scopeCount(bytes32 operator) external view returns (uint256);
        function scopesOf(bytes32 operator, uint256 from, uint256 most) external view returns (Scope[] memory part);

        error NotController(bytes32 operator);
    }

    contract EpochCounter {
        function currentEpoch() external view returns (uint256);
        function advance() external returns (uint256);

        error NotOwner();
    }

    contract CredentialAudit {
        constructor(address operators_);
        function append(bytes32 operator, bytes32 root, uint64 count) external returns (uint256 index);
        function anchorCount(bytes32 operator) external view returns (uint256);
        function anchorAt(bytes32 operator, uint256 index) external view returns (bytes32 root, uint64 count, uint64 anchoredAt);

        error NotController(bytes32 operator);
        error CountNotGrowing(uint64 last, uint64 given);
    }
}
