// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IOperators} from "./Operators.sol";

/// Which services an actor of an operator may use. A service is keccak256 of its name.
contract ScopeContract {
    struct Scope {
        bytes32 actor;
        bytes32 service;
        bool inScope;
        bool readOnly;
    }

    /// Who may write for an operator: the registry of devices knows.
    IOperators public immutable operators;

    /// What an operator set in one generation (see `Operators`).
    struct List {
        /// All scopes that were ever set.
        Scope[] scopes;
        /// Where in the list one is, counted from 1.
        mapping(bytes32 actor => mapping(bytes32 service => uint256)) places;
    }

    mapping(bytes32 operator => mapping(uint64 generation => List)) private lists;

    event ScopeSet(bytes32 indexed operator, bytes32 indexed actor, bytes32 indexed service, bool readOnly);
    event ScopeRevoked(bytes32 indexed operator, bytes32 indexed actor, bytes32 indexed service);

    /// The caller may not write for this operator.
    error NotController(bytes32 operator);

    constructor(IOperators operators_) {
        operators = operators_;
    }

    modifier onlyController(bytes32 operator) {
        if (!operators.mayWrite(operator, msg.sender)) revert NotController(operator);
        _;
    }

    /// Allows an actor services, or changes whether they may only be read.
    function setScope(bytes32 operator, bytes32 actor, bytes32[] calldata services, bool readOnly)
        external
        onlyController(operator)
    {
        List storage list = current(operator);
        for (uint256 i = 0; i < services.length; i++) {
            uint256 place = list.places[actor][services[i]];
            if (place == 0) {
                list.scopes.push(Scope(actor, services[i], true, readOnly));
                list.places[actor][services[i]] = list.scopes.length;
            } else {
                Scope storage scope = list.scopes[place - 1];
                scope.inScope = true;
                scope.readOnly = readOnly;
            }
            emit ScopeSet(operator, actor, services[i], readOnly);
        }
    }

    /// Takes services from an actor. What was not allowed stays so.
    function revokeScope(bytes32 operator, bytes32 actor, bytes32[] calldata services)
        external
        onlyController(operator)
    {
        List storage list = current(operator);
        for (uint256 i = 0; i < services.length; i++) {
            uint256 place = list.places[actor][services[i]];
            if (place == 0) continue;
            Scope storage scope = list.scopes[place - 1];
            if (!scope.inScope) continue;
            scope.inScope = false;
            scope.readOnly = false;
            emit ScopeRevoked(operator, actor, services[i]);
        }
    }

    /// Whether an actor of an operator may use a service, and whether for reading only.
    function isServiceInScope(bytes32 operator, bytes32 actor, bytes32 service)
        external
        view
        returns (bool inScope, bool readOnly)
    {
        List storage list = current(operator);
        uint256 place = list.places[actor][service];
        if (place == 0) return (false, false);
        Scope storage scope = list.scopes[place - 1];
        return (scope.inScope, scope.readOnly);
    }

    function current(bytes32 operator) private view returns (List storage) {
        return lists[operator][operators.generationOf(operator)];
    }

    /// How many scopes an operator ever set.
    function scopeCount(bytes32 operator) external view returns (uint256) {
        return current(operator).scopes.length;
    }

    /// A part of an operator's scopes, those that were revoked included.
    function scopesOf(bytes32 operator, uint256 from, uint256 most) external view returns (Scope[] memory part) {
        Scope[] storage all = current(operator).scopes;
        if (from >= all.length) return part;
        uint256 length = all.length - from;
        if (length > most) length = most;
        part = new Scope[](length);
        for (uint256 i = 0; i < length; i++) {
            part[i] = all[from + i];
        }
    }
}
