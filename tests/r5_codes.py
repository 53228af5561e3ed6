"""Whether an R5 model of fhir.resources holds a code that its element does not allow."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


def faults(model: Any, path: str = "") -> Iterator[str]:
    """Yield where a model holds a code that is none of those its element allows."""
    for name, field in type(model).model_fields.items():
        value = getattr(model, name, None)
        allowed = (field.json_schema_extra or {}).get("enum_values", ())
        for one in value if isinstance(value, list) else [value]:
            if hasattr(one, "model_fields_set"):
                yield from faults(one, f"{path}.{name}")
            elif one is not None and allowed and not {"+", "etc."}.intersection(allowed) and one not in allowed:
                yield f"{path}.{name}: {one}"
