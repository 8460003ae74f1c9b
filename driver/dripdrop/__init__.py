"""Messaging sequences that live in Postgres.

`Client` and `AsyncClient` call the SQL functions; `dripdrop.errors` draws the tree of errors.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dripdrop.client import AsyncClient, Client
    from dripdrop.errors import (
        AdapterNotFound,
        AlreadyExists,
        ArgumentError,
        CapNotFound,
        ClaimError,
        DestinationBound,
        DripdropError,
        EnrollmentNotFound,
        EventNotFound,
        ExecutionNotFound,
        HookNotFound,
        InvalidArgument,
        InvalidCondition,
        InvalidDefinition,
        InvalidRate,
        InvalidTenantKey,
        InvalidTiming,
        InvalidTransition,
        InvalidVersion,
        MissingRecipient,
        NoActiveVersion,
        NotStarted,
        OtherVersion,
        PgmqMissing,
        ReenrollmentNotAllowed,
        RefusedError,
        RuleNotFound,
        SchemaDiffers,
        SecondActiveVersion,
        SequenceInactive,
        SequenceNotFound,
        StaleFence,
        StateError,
        StepNotFound,
        StillUsed,
        SuppressionNotFound,
        TopicNotFound,
        UnknownProvider,
        UnknownTimeZone,
        UntrustedOwner,
        VersionNotDraft,
        VersionNotFound,
    )
    from dripdrop.vault import Vault, VaultError

__all__ = [
    "AdapterNotFound",
    "AlreadyExists",
    "ArgumentError",
    "AsyncClient",
    "CapNotFound",
    "ClaimError",
    "Client",
    "DestinationBound",
    "DripdropError",
    "EnrollmentNotFound",
    "EventNotFound",
    "ExecutionNotFound",
    "HookNotFound",
    "InvalidArgument",
    "InvalidCondition",
    "InvalidDefinition",
    "InvalidRate",
    "InvalidTenantKey",
    "InvalidTiming",
    "InvalidTransition",
    "InvalidVersion",
    "MissingRecipient",
    "NoActiveVersion",
    "NotStarted",
    "OtherVersion",
    "PgmqMissing",
    "ReenrollmentNotAllowed",
    "RefusedError",
    "RuleNotFound",
    "SchemaDiffers",
    "SecondActiveVersion",
    "SequenceInactive",
    "SequenceNotFound",
    "StaleFence",
    "StateError",
    "StepNotFound",
    "StillUsed",
    "SuppressionNotFound",
    "TopicNotFound",
    "UnknownProvider",
    "UnknownTimeZone",
    "UntrustedOwner",
    "Vault",
    "VaultError",
    "VersionNotDraft",
    "VersionNotFound",
]

_MODULES = ("client", "errors", "vault")


def __getattr__(name: str) -> Any:
    """Import what is asked for: the process that renders needs neither a database nor keys."""
    if name in _MODULES:
        return import_module(f"dripdrop.{name}")
    if name in __all__:
        for module in map(import_module, (f"dripdrop.{each}" for each in _MODULES)):
            if hasattr(module, name):
                return getattr(module, name)
    raise AttributeError(f"module 'dripdrop' has no attribute '{name}'")
