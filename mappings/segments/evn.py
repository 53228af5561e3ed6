"""``EVN`` (event type) to ``Provenance``."""

from __future__ import annotations

from typing import Final

from mappings.datatypes.ts import ts_datetime
from mappings.rules import Row, SegmentMap

EVN_PROVENANCE: Final = SegmentMap(
    "EVN",
    "Provenance",
    rows=(Row("EVN-6", "occurredDateTime", ts_datetime, note="when the event took place"),),
    not_mapped={
        "EVN-2": "recorded by the sender: Provenance.recorded is the time of receipt, MSH-7 orders messages",
        "EVN-3": "planned event: plans are not taken",
        "EVN-4": "reason of the event: of the hospital's administration",
        "EVN-5": "operator: no recipient is entitled to clerks' names",
        "EVN-7": "event facility: the site",
    },
    elsewhere={"EVN-1": "the trigger event where MSH-9 does not say it"},
)
