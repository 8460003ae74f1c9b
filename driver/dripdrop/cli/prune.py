"""Delete what is no longer to be kept."""

from __future__ import annotations

import time
from collections import Counter

from dripdrop.cli.database import Dsn
from dripdrop.cli.output import print_table, say
from dripdrop.client import Client
from dripdrop.connections import connect
from dripdrop.process.settings import resolve_dsn

_REST = 9


def prune(dsn: Dsn = None) -> None:
    """Delete what retention no longer keeps, page by page, to the end of each table.

    Each page is a transaction of its own, so it may be interrupted. It rests nine times as long as
    a page took: what sends has the machine for nine tenths of the time.
    """
    deleted: Counter[str] = Counter()
    looked_at: dict[str, int] = {}
    while True:
        began = time.monotonic()
        with connect(resolve_dsn(dsn)) as connection:
            pages = Client(connection).prune()
        took = time.monotonic() - began
        deleted.update({page.kind: page.deleted for page in pages})
        for page in pages:
            if looked_at.get(page.kind) != 0:
                looked_at[page.kind] = page.looked_at
        if not any(looked_at.values()):
            break
        time.sleep(_REST * took)
    if not looked_at:
        say("nothing says how long things are kept: see update_tenant_settings(retention)")
        return
    print_table(("table", "deleted"), [(kind, deleted[kind]) for kind in sorted(looked_at)])
