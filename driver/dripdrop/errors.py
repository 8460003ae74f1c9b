"""What the engine refuses, one class per SQLSTATE; psycopg raises them itself.

::

    psycopg.DatabaseError
    └── DripdropError
        ├── StateError (ZD1xx): not found, or in the wrong state
        │   ├── SequenceNotFound
        │   ├── NoActiveVersion
        │   ├── VersionNotFound
        │   ├── StepNotFound
        │   ├── EnrollmentNotFound
        │   ├── ExecutionNotFound
        │   ├── AdapterNotFound
        │   ├── HookNotFound
        │   ├── RuleNotFound
        │   ├── InvalidTransition
        │   ├── VersionNotDraft
        │   ├── InvalidVersion
        │   ├── AlreadyExists
        │   ├── SecondActiveVersion
        │   ├── CapNotFound
        │   ├── EventNotFound
        │   ├── NotStarted
        │   ├── PgmqMissing
        │   ├── UntrustedOwner
        │   ├── SchemaDiffers
        │   ├── StillUsed
        │   ├── OtherVersion
        │   ├── SuppressionNotFound
        │   └── TopicNotFound
        ├── ArgumentError (ZD2xx): an argument cannot be right
        │   ├── InvalidArgument
        │   ├── UnknownProvider
        │   ├── InvalidTiming
        │   ├── UnknownTimeZone
        │   ├── MissingRecipient
        │   ├── InvalidDefinition
        │   ├── InvalidTenantKey
        │   ├── InvalidCondition
        │   └── InvalidRate
        ├── RefusedError (ZD3xx): a policy says no
        │   ├── ReenrollmentNotAllowed
        │   ├── SequenceInactive
        │   └── DestinationBound
        └── ClaimError (ZD4xx): somebody else has moved the row on
            └── StaleFence

Importing this module registers the classes, for every connection of the process. `str(error)` is
the server's message, `error.diag.message_hint` what to do about it, `error.sqlstate` the code. The
list is that of `select * from dripdrop.errors()`.
"""

from __future__ import annotations

import psycopg


class DripdropError(psycopg.DatabaseError):
    """Anything the engine refuses."""


class StateError(DripdropError):
    """A row is missing, or in a state that does not allow the call."""


class ArgumentError(DripdropError):
    """An argument cannot be right, whatever the database holds."""


class RefusedError(DripdropError):
    """The call is in order, and a policy forbids it."""


class ClaimError(DripdropError):
    """The caller's claim on a row is out of date."""


class SequenceNotFound(StateError, code="ZD101"):
    """No such sequence in this tenant."""


class NoActiveVersion(StateError, code="ZD102"):
    """The sequence has no active version."""


class VersionNotFound(StateError, code="ZD103"):
    """No such sequence version in this tenant."""


class StepNotFound(StateError, code="ZD104"):
    """No such step in this version."""


class EnrollmentNotFound(StateError, code="ZD105"):
    """No such enrolment in this tenant."""


class ExecutionNotFound(StateError, code="ZD106"):
    """No such step execution in this tenant."""


class AdapterNotFound(StateError, code="ZD107"):
    """No such channel adapter in this tenant."""


class HookNotFound(StateError, code="ZD108"):
    """No such hook in this tenant."""


class RuleNotFound(StateError, code="ZD109"):
    """No such transition or exit rule in this tenant."""


class InvalidTransition(StateError, code="ZD110"):
    """The row is in a state that does not allow this move."""


class VersionNotDraft(StateError, code="ZD111"):
    """A version that is or was active does not change."""


class InvalidVersion(StateError, code="ZD112"):
    """The version has problems and cannot be activated."""


class AlreadyExists(StateError, code="ZD113"):
    """A row with this key exists already."""


class SecondActiveVersion(StateError, code="ZD114"):
    """A sequence has at most one active version."""


class CapNotFound(StateError, code="ZD118"):
    """No such frequency cap in this tenant."""


class EventNotFound(StateError, code="ZD119"):
    """No such event of this subscriber in this tenant."""


class NotStarted(StateError, code="ZD120"):
    """The queues do not exist yet: call `dripdrop.start()`."""


class PgmqMissing(StateError, code="ZD121"):
    """pgmq is not installed in this database."""


class UntrustedOwner(StateError, code="ZD122"):
    """Something the engine calls belongs to a role that could act as the caller through it."""


class SchemaDiffers(StateError, code="ZD123"):
    """The tables are not those that this version is made for."""


class StillUsed(StateError, code="ZD124"):
    """Something uses what is to be changed or removed."""


class OtherVersion(StateError, code="ZD125"):
    """The caller is of another version than the schema."""


class SuppressionNotFound(StateError, code="ZD130"):
    """No such suppression in this tenant."""


class TopicNotFound(StateError, code="ZD131"):
    """No such topic in this tenant."""


class InvalidArgument(ArgumentError, code="ZD201"):
    """An argument is missing or has the wrong shape."""


class UnknownProvider(ArgumentError, code="ZD202"):
    """No such channel, or no such provider for the channel."""


class InvalidTiming(ArgumentError, code="ZD203"):
    """The timing does not parse."""


class UnknownTimeZone(ArgumentError, code="ZD204"):
    """The time zone is not in `pg_timezone_names`."""


class MissingRecipient(ArgumentError, code="ZD205"):
    """The data holds no usable recipient for the channel."""


class InvalidDefinition(ArgumentError, code="ZD206"):
    """The sequence document is malformed."""


class InvalidTenantKey(ArgumentError, code="ZD207"):
    """A tenant key is None (global) or a non-empty text without a leading colon."""


class InvalidCondition(ArgumentError, code="ZD208"):
    """The condition makes no sense."""


class InvalidRate(ArgumentError, code="ZD209"):
    """The rate does not parse."""


class ReenrollmentNotAllowed(RefusedError, code="ZD301"):
    """The subscriber was enrolled before, and the sequence does not allow it again."""


class SequenceInactive(RefusedError, code="ZD302"):
    """The sequence is switched off."""


class DestinationBound(RefusedError, code="ZD303"):
    """Sealed credentials go nowhere else than they were given for."""


class StaleFence(ClaimError, code="ZD401"):
    """The claim was lost: another claim, a stop or a replay has moved the execution on."""
