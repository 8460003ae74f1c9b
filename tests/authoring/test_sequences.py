"""Sequences, made by hand."""

from __future__ import annotations

from typing import Any

import pytest

from dripdrop.errors import (
    AlreadyExists,
    DripdropError,
    InvalidArgument,
    InvalidTenantKey,
    UnknownTimeZone,
)
from tests.engine import TENANT, Engine


def test_a_new_sequence_is_active_and_lets_nobody_in_twice(engine: Engine) -> None:
    sequence = engine.create_sequence(TENANT, "trial", "Trial", time_zone="Europe/Berlin")
    assert (sequence.key, sequence.active, sequence.reentry) == ("trial", True, "never")


def test_a_key_is_taken_once_per_tenant(engine: Engine) -> None:
    engine.create_sequence(TENANT, "trial", "Trial")
    with engine.refused(AlreadyExists):
        engine.create_sequence(TENANT, "trial", "Another")


def test_two_tenants_and_the_global_scope_may_use_the_same_key(engine: Engine) -> None:
    for tenant in (TENANT, "other", None):
        engine.create_sequence(tenant, "trial", "Trial")
    assert engine.rows("select count(*) from dripdrop.sequences")[0].count == 3


def test_the_global_scope_is_one_scope(engine: Engine) -> None:
    engine.create_sequence(None, "trial", "Trial")
    with engine.refused(AlreadyExists):
        engine.create_sequence(None, "trial", "Trial")


@pytest.mark.parametrize(
    ("fields", "error", "field"),
    [
        ({"key": "Trial"}, InvalidArgument, "key"),
        ({"key": ""}, InvalidArgument, "key"),
        ({"key": None}, InvalidArgument, "key"),
        ({"key": "-trial"}, InvalidArgument, "key"),
        ({"name": ""}, InvalidArgument, "name"),
        ({"name": None}, InvalidArgument, "name"),
        ({"reentry": "sometimes"}, InvalidArgument, "reentry"),
        ({"reentry": None}, InvalidArgument, "reentry"),
        ({"priority": None}, InvalidArgument, "priority"),
        ({"priority": -(2**31)}, InvalidArgument, "priority"),
        ({"exclusive_group": ""}, InvalidArgument, "exclusive_group"),
        ({"metadata": []}, InvalidArgument, "metadata"),
        ({"metadata": None}, InvalidArgument, "metadata"),
        (
            {"metadata": {"channel_adapters": {"email": "smtp"}}},
            InvalidArgument,
            "metadata.channel_adapters",
        ),
        (
            {"metadata": {"channel_adapters": ["smtp"]}},
            InvalidArgument,
            "metadata.channel_adapters",
        ),
        ({"time_zone": "Mars/Olympus"}, UnknownTimeZone, "time_zone"),
        ({"time_zone": "foo5"}, UnknownTimeZone, "time_zone"),
        ({"tenant_key": ""}, InvalidTenantKey, "tenant_key"),
        ({"tenant_key": ":global"}, InvalidTenantKey, "tenant_key"),
    ],
)
def test_a_bad_field_is_named(
    engine: Engine, fields: dict[str, Any], error: type[DripdropError], field: str
) -> None:
    with engine.refused(error) as refusal:
        engine.create_sequence(**{"tenant_key": TENANT, "key": "trial", "name": "Trial"} | fields)
    assert refusal.value.diag.column_name == field
