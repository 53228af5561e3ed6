"""Consent and membership: from when to when may a recipient see a subject's data, decided at this moment."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from gateway.model.recipient import Recipient
from gateway.model.study import Consent, Subject
from gateway.release.decision import Withheld

NOT_REGISTERED = "not-registered"
"""The status of a subject that should never have been one (CRM^C02)."""


@dataclass(frozen=True, slots=True)
class Entitlement:
    """The time that data must lie in: both ends included, None is open. UTC.

    ``since`` None: the consent bears no date, so nothing that has a time may leave.
    """

    since: datetime | None
    until: datetime | None = None

    def wider_than(self, other: Entitlement | Withheld) -> bool:
        """Whether data may leave under this entitlement that could not under ``other``."""
        if isinstance(other, Withheld):
            return True
        if self.since is not None and (other.since is None or self.since < other.since):
            return True
        return other.until is not None and (self.until is None or self.until > other.until)

    def check(self, at: datetime | None) -> Withheld | None:
        """Return why data of this time may not leave; None when they may."""
        if at is None:
            return Withheld("no-date")
        if self.since is None:
            return Withheld("before-consent", "the consent bears no date")
        if at < self.since:
            return Withheld("before-consent")
        if self.until is not None and at > self.until:
            return Withheld("after-end")
        return None


def entitlement(subject: Subject | None, recipient: Recipient, now: datetime) -> Entitlement | Withheld:
    """Decide what a recipient may see of a subject now (ARCHITECTURE, decision 7)."""
    if subject is None:
        return Withheld("not-a-subject")
    if subject.status not in recipient.statuses:
        return Withheld("status", subject.status)

    active = [consent for consent in subject.consents if in_force(consent, now)]
    if not active:
        return Withheld("consent", _why_none(subject.consents))
    covering = [consent for consent in active if recipient.purpose in consent.purposes]
    if not covering:
        return Withheld("purpose", recipient.purpose)

    given = [consent.given_at for consent in covering if consent.given_at is not None]
    since = min(given) - recipient.look_back if given else None
    return Entitlement(since, _until(subject, covering))


def begins_at(subject: Subject | None, recipient: Recipient, now: datetime) -> datetime | None:
    """Return when a consent begins that will entitle the recipient, who has no right now; None: none is to come.

    A hospital's clock may be ahead of ours, and then nothing else says that the moment has come.
    """
    if subject is None or isinstance(entitlement(subject, recipient, now), Entitlement):
        return None
    given = [each.given_at for each in subject.consents if each.active and recipient.purpose in each.purposes]
    return min((at for at in given if at is not None and at > now), default=None)


def in_force(consent: Consent, now: datetime) -> bool:
    """Whether a consent is active at this moment."""
    if not consent.active or (consent.given_at is not None and consent.given_at > now):
        return False
    return consent.ends_at is None or now <= consent.ends_at


def never_valid(subject: Subject, recipient: Recipient) -> bool:
    """Whether no consent ever entitled the recipient: none was given, or each was entered in error or rejected."""
    return not any(
        (consent.active or consent.status == "inactive") and recipient.purpose in consent.purposes
        for consent in subject.consents
    )


def _until(subject: Subject, covering: list[Consent]) -> datetime | None:
    ends = [consent.ends_at for consent in covering]
    known = [end for end in ends if end is not None]
    consent_end = max(known) if len(known) == len(ends) else None
    both = [end for end in (subject.ended_at, consent_end) if end is not None]
    return min(both) if both else None


def _why_none(consents: tuple[Consent, ...]) -> str:
    if not consents:
        return "none is known"
    return ", ".join(sorted({consent.status or "not active" for consent in consents}))
