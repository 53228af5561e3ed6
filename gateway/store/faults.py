"""What a driver's error means to the gateway. The driver's words are never passed on: they may quote a row."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from sqlalchemy import Engine, event
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import TimeoutError as PoolTimeout

from gateway.errors import SchemaMismatch, StoreError, StoreUnavailable, VersionConflict

_TAKEN: Final = frozenset({"23505"})
_TRY_AGAIN: Final = frozenset({"40001", "40P01"})
_NO_TABLE: Final = frozenset({"42P01", "42703"})
_UNAVAILABLE: Final = ("OperationalError", "InterfaceError", "InternalError")


def translate(error: BaseException) -> StoreError:
    """Return what a driver's exception (DB-API 2.0) means; it names the kind of trouble, never a value."""
    code = getattr(error, "sqlstate", None) or getattr(error, "sqlite_errorname", None) or ""
    kinds = {kind.__name__ for kind in type(error).__mro__}
    if code in _TAKEN or code.startswith("SQLITE_CONSTRAINT_"):
        return VersionConflict("somebody else wrote that row first")
    if code in _TRY_AGAIN:
        return VersionConflict("two transactions stood in each other's way")
    if code in _NO_TABLE or "no such table" in str(error) or "no such column" in str(error):
        return SchemaMismatch("the database lacks a table or column: run `gateway db upgrade`")
    if kinds.intersection(_UNAVAILABLE):
        return StoreUnavailable(f"the database did not answer: {type(error).__name__} {code}".rstrip())
    return StoreError(f"the database refused a statement: {type(error).__name__} {code}".rstrip())


def _on_error(context: ExceptionContext) -> None:
    if context.sqlalchemy_exception is not None:
        raise translate(context.original_exception) from None


def translate_errors(engine: Engine) -> None:
    """Make every statement, commit and connect of an engine raise the gateway's errors."""
    event.listen(engine, "handle_error", _on_error)


@contextmanager
def pool_errors() -> Iterator[None]:
    """Turn a pool without a free connection into ``StoreUnavailable``."""
    try:
        yield
    except PoolTimeout:
        raise StoreUnavailable("every connection to the database is in use") from None
