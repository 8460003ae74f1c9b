"""A sequence that is made step by step."""

from __future__ import annotations

from uuid import UUID

import pytest

from tests.engine import TENANT, Engine


@pytest.fixture
def sequence_id(engine: Engine) -> UUID:
    """A sequence without a version."""
    sequence: UUID = engine.create_sequence(TENANT, "trial", "Trial").id
    return sequence


@pytest.fixture
def draft_id(engine: Engine, sequence_id: UUID) -> UUID:
    """A draft version of it without a step."""
    draft: UUID = engine.create_sequence_version(TENANT, sequence_id).id
    return draft
