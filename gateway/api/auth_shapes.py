"""The forms and answers of the OAuth routes, as OpenAPI tells them."""

from __future__ import annotations

from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field

from gateway.services.recognise import ASSERTION_TYPE


class Granted(BaseModel):
    """An access token (RFC 6749, 5.1)."""

    access_token: str
    token_type: str = Field(description="bearer")
    expires_in: int = Field(description="seconds")
    scope: str = Field(description="what was granted, which may be less than was asked for")


class OAuthError(BaseModel):
    """Why not (RFC 6749, 5.2)."""

    error: str
    error_description: str


class Introspected(BaseModel):
    """What a token is (RFC 7662, 2.2)."""

    model_config = ConfigDict(extra="allow")

    active: bool


class Configuration(BaseModel):
    """How a client gets a token (SMART App Launch 2.2)."""

    model_config = ConfigDict(extra="allow")

    token_endpoint: str
    capabilities: list[str]


ANSWERS: Final[dict[int | str, dict[str, Any]]] = {
    400: {"model": OAuthError, "description": "The request cannot be granted as it is"},
    401: {"model": OAuthError, "description": "The client is not known by what it shows"},
    408: {"model": OAuthError, "description": "The request did not arrive in time"},
    413: {"model": OAuthError, "description": "The request is too large"},
    429: {"model": OAuthError, "description": "Too many requests: see Retry-After"},
    503: {"model": OAuthError, "description": "The database does not answer: see Retry-After"},
}

_SHOWN: Final[dict[str, Any]] = {
    "client_assertion_type": {"type": "string", "enum": [ASSERTION_TYPE]},
    "client_assertion": {"type": "string", "description": "a JWT signed with RS384 or ES384"},
}


def form_of(title: str, *, token: bool = False) -> dict[str, Any]:
    """Return the form of a route as OpenAPI describes it: about a ``token``, or to get one."""
    asked: dict[str, Any] = {
        "grant_type": {"type": "string", "enum": ["client_credentials"]},
        "scope": {"type": "string", "description": "system/TYPE.cruds, separated by spaces"},
    }
    properties = ({"token": {"type": "string"}} if token else asked) | _SHOWN
    required = ["token"] if token else ["grant_type", "scope"]
    schema = {"title": title, "type": "object", "properties": properties, "required": required}
    return {"requestBody": {"required": True, "content": {"application/x-www-form-urlencoded": {"schema": schema}}}}
