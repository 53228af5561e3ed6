"""``POST /hl7v2/{feed}``: HL7 v2 over HTTP, the acknowledgment in the answer.

One message per request, ``Content-Type: application/hl7-v2``; where the sender asks for an accept and an application
acknowledgment, the answer is the application acknowledgment. Any character set the message declares, UTF-16 included.
"""

from __future__ import annotations

import asyncio
import hmac
import os
from collections.abc import Mapping
from typing import Any, Final

import structlog
from fastapi import APIRouter, HTTPException, Request, Response

from gateway.model.site import Feed
from gateway.services.judge import HEAD
from gateway.services.receive import Answer, Intake

log = structlog.get_logger()

TYPES: Final = frozenset(("application/hl7-v2", "x-application/hl7-v2+er7"))
_TEXT: Final = {"application/hl7-v2": {"schema": {"type": "string"}}}
_MESSAGE: Final = {"requestBody": {"required": True, "description": "One message, MSH first.", "content": _TEXT}}
_ANSWERS: Final[dict[int | str, dict[str, Any]]] = {
    200: {"description": "The acknowledgment, positive or negative.", "content": _TEXT},
    204: {"description": "Taken; the sender asked for no acknowledgment."},
    401: {"description": "The feed's token is needed."},
    404: {"description": "There is no such feed."},
    408: {"description": "It did not arrive in time: send it again."},
    413: {"description": "Too large."},
    415: {"description": "The content type is application/hl7-v2."},
    503: {"description": "It could not be stored: send it again."},
}
_RETRY: Final = {"Retry-After": "2"}


def hl7v2_router(intake: Intake, feeds: Mapping[str, Feed]) -> APIRouter:
    """Return the route of the HTTP feeds among ``feeds`` (by id).

    200 with an acknowledgment, positive or negative; 204 when the sender asked for none; 401 without the feed's token;
    404 unknown feed; 408 it did not arrive within ``frame_timeout``; 413 (with an AR) too large;
    415 wrong content type; 503 the store cannot commit: send again.
    """
    router = APIRouter(tags=["HL7 v2"])

    @router.post(
        "/hl7v2/{feed_id}",
        summary="Take one HL7 v2 message and acknowledge it",
        response_class=Response,
        responses=_ANSWERS,
        openapi_extra=_MESSAGE,
    )
    async def receive(feed_id: str, request: Request) -> Response:
        feed = feeds.get(feed_id)
        if feed is None or feed.kind != "http":
            raise HTTPException(404, "no such feed")
        _check_token(feed, request.headers.get("Authorization", ""))
        content_type = request.headers.get("Content-Type", "")
        if content_type.partition(";")[0].strip().lower() not in TYPES:
            raise HTTPException(415, "the content type is application/hl7-v2")
        if intake.full:
            raise HTTPException(503, "too much is waiting", headers=_RETRY)
        try:
            async with asyncio.timeout(feed.frame_timeout):
                raw, size = await _body(request, feed.max_bytes)
        except TimeoutError:
            raise HTTPException(408, "the message did not arrive in time; send it again") from None
        answer = await asyncio.wrap_future(intake.receive(feed, raw, size=size))
        return _response(answer, content_type, too_large=size > feed.max_bytes)

    return router


def _check_token(feed: Feed, authorization: str) -> None:
    """Raise 401 when the feed has a token and the request does not show it; compared in constant time."""
    if not feed.token_env:
        return
    token = os.environ.get(feed.token_env, "")
    kind, _, shown = authorization.partition(" ")
    right = hmac.compare_digest(shown.strip().encode(), token.encode())
    if not token or kind.lower() != "bearer" or not right:
        log.warning("token refused", feed=feed.id)
        raise HTTPException(401, "the feed's token is needed", headers={"WWW-Authenticate": "Bearer"})


async def _body(request: Request, limit: int) -> tuple[bytes, int]:
    """Return the body, or of one larger than ``limit`` the head and the bytes seen until it was."""
    chunks: list[bytes] = []
    size = 0
    async for chunk in request.stream():
        chunks.append(chunk)
        size += len(chunk)
        if size > limit:
            return b"".join(chunks)[:HEAD], size
    return b"".join(chunks), size


def _response(answer: Answer, content_type: str, *, too_large: bool) -> Response:
    if answer.closes:
        raise HTTPException(503, "the message could not be stored; send it again", headers=_RETRY)
    if not answer.acknowledgments:
        return Response(status_code=413 if too_large else 204)
    unstored = answer.message == 0
    status = 413 if too_large else 503 if unstored else 200
    return Response(answer.acknowledgments[-1], status, headers=_RETRY if unstored else None, media_type=content_type)
