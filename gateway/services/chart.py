"""One patient as one view sees it: the chart, and what is in it.

The patient ``""`` stands for what belongs to nobody: studies, organizations. What is in a chart is ``Seen``: the
released form under the view's own ids, with ``meta.versionId`` and ``meta.lastUpdated``; a reference to what the view
may not see is not in it.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from datetime import datetime
from functools import cached_property
from itertools import groupby
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakMethod

from gateway.fhir import codec
from gateway.fhir.r5 import to_r5
from gateway.model.resource import ResourceVersion
from gateway.model.study import Subject
from gateway.release.decision import Let
from gateway.release.links import Links, Reachable
from gateway.release.policy import SAYS_OF_OTHERS, Rights
from gateway.release.release import Releasing
from gateway.services.lets import Lets
from gateway.services.seen import Seen, instant, place, stamped
from gateway.services.subjects import ENTITLING, Standing

if TYPE_CHECKING:
    from gateway.services.pull import Pull

_REFERENCE: Final = re.compile(rb'"reference":"([A-Z][A-Za-z]*)/([0-9a-f-]{36})"')


class Chart:
    """One patient, or what belongs to nobody, as one view sees it.

    ``heads``: every newest version, if all are read. ``releasing``: of the charts beside it, which are let go with it.
    ``persons``: every newest version of the types in ``ENTITLING``, if they are read.
    """

    def __init__(
        self,
        pull: Pull,
        rights: Rights,
        patient: str,
        heads: Iterable[ResourceVersion] | None = None,
        releasing: Releasing | None = None,
        *,
        persons: Sequence[ResourceVersion] | None = None,
    ) -> None:
        self.pull = pull
        self.rights = rights
        self.patient = patient
        self._whole = heads is not None
        self._persons = persons
        self._heads: dict[str, ResourceVersion | None] = {head.id: head for head in (heads or persons or ())}
        self._orders: dict[str, list[ResourceVersion]] = {}
        self._decided: dict[str, Let | None] = {}
        self._formed: dict[str, Seen] = {}
        self._lets = Lets()
        self._met: frozenset[str] = frozenset()
        self._open: list[str] = []
        self._relied: set[str] = set()
        self._releasing = releasing or Releasing(rights, pull.now)
        self._links = self._releasing.links(patient, _weak(self._reach))
        self._before = self._releasing.links(patient, _weak(self._reach_now))
        self._targets = self._links if patient else self._releasing.links(patient, _weak(self._reach_seen))

    # --- what is in it ----------------------------------------------------------------------------------------------

    def of_type(self, type: str) -> Iterator[Seen]:
        """Yield what the view sees of a type, in the order of the view's ids."""
        yield from (seen for head in self.heads(type) if (seen := self.seen(head)) is not None)

    def heads(
        self, type: str, behind: str = "", wanted: Callable[[ResourceVersion], bool] | None = None
    ) -> list[ResourceVersion]:
        """Return the newest stored version of each resource of a type that could be seen, in the order of the view's.

        ``behind``: those alone that come behind this one (its internal id). ``wanted``: those that it holds for.
        """
        if type not in self.rights.types:
            return []
        if wanted is not None:
            found = self._ordered([head for head in self._of_type(type) if wanted(head)])
        else:
            found = self._orders[type] = self._orders.get(type) or self._ordered(self._of_type(type))
        if not behind:
            return found
        return found[bisect_right(found, place(self.rights, behind), key=lambda head: place(self.rights, head.id)) :]

    def _of_type(self, type: str) -> Sequence[ResourceVersion]:
        if self._persons is not None and type in ENTITLING:
            return [head for head in self._persons if head.type == type]
        return self._by_type.get(type, ())

    def _ordered(self, heads: Sequence[ResourceVersion]) -> list[ResourceVersion]:
        ids = self.rights.public_ids([head.id for head in heads])
        return sorted(heads, key=lambda head: ids.get(head.id, head.id))

    @property
    def everything(self) -> list[ResourceVersion]:
        """Every newest version."""
        self._read_all()
        return [head for head in self._heads.values() if head is not None and self._is_own(head)]

    def types(self) -> list[str]:
        """Return the types there are in it, sorted."""
        return sorted(self._by_type.keys() & self.rights.types.keys())

    @cached_property
    def _by_type(self) -> dict[str, list[ResourceVersion]]:
        """Every newest version by type."""
        self._read_all()
        found: dict[str, list[ResourceVersion]] = {}
        for head in self._heads.values():
            if head is not None and self._is_own(head):
                found.setdefault(head.type, []).append(head)
        return found

    def _is_own(self, head: ResourceVersion) -> bool:
        return head.patient == self.patient

    def by_reference(self, reference: str) -> Seen | None:
        """Return what a reference of a resource the view sees names (``Type/id``, the view's own id)."""
        type, _, id = reference.partition("/")
        try:
            head = self._head(self.rights.internal_id(id))
        except ValueError:
            return None
        if head is None or head.type != type:
            return None
        if head.patient == self.patient:
            return self.seen(head)
        if head.patient and self.patient:
            return None
        return self.pull.chart(self.rights, head.patient).seen(head)

    def seen(self, head: ResourceVersion) -> Seen | None:
        """Return a resource of this chart as the view sees it; None when it does not."""
        let = self._decision(head)
        if let is None:
            return None
        if head.id not in self._formed:
            self._formed[head.id] = self._form(head, let)
        return self._formed[head.id]

    def sees(self, head: ResourceVersion) -> bool:
        """Whether the view sees a resource of this chart."""
        return self._decision(head) is not None

    def _decision(self, head: ResourceVersion) -> Let | None:
        if head.id not in self._decided:
            self._heads.setdefault(head.id, head)
            self._open.append(head.id)
            let = self._decide(head)
            self._open.pop()
            if let is None and head.id in self._relied:
                self._forget()
            self._decided[head.id] = let
        return self._decided[head.id]

    def withholds(self, head: ResourceVersion) -> bool:
        """Whether a resource of a patient is withheld wherever its references lead: nothing needs to be read for that.

        So that it takes no longer to withhold it than to miss it.
        """
        if not self.patient or self._releasing.permitted(head, self.subject) is not None:
            return bool(self.patient)
        anywhere = self._releasing.links(self.patient, None)
        let = self._releasing.shaped(head, self.subject, anywhere)
        if not isinstance(let, Let):
            return True
        self._lets.keep(head, self.rights, self.subject, anywhere, let)
        return False

    def past(self, version: ResourceVersion) -> Seen | None:
        """Return an earlier version as the view would see it today; None when it would not."""
        let = self._decide(version, self._before) if version.patient == self.patient else None
        return None if let is None else self._form(version, let)

    # --- deciding ---------------------------------------------------------------------------------------------------

    @cached_property
    def standing(self) -> Standing:
        """The patient's places in studies."""
        if not self.patient:
            return Standing({})
        if self._whole:
            own = (head for head in self._heads.values() if head is not None and self._is_own(head))
            versions = [head for head in own if head.type in ENTITLING]
            versions.sort(key=lambda head: head.change)
        elif self._persons is not None:
            versions = list(self._persons)
        else:
            versions = self.pull.tx.resources.of_patient(self.patient, types=ENTITLING)
        return self.pull.standings.of(versions, self.patient, self.pull.policy)

    @property
    def subject(self) -> Subject | None:
        """The patient's place in the view's study."""
        return self.standing.subjects.get(self.rights.study.id)

    @cached_property
    def entitled_at(self) -> datetime | None:
        """When what entitles the view to the patient's data was stored, or begins to hold; None: nothing does."""
        subject = self.subject
        if subject is None:
            return None
        behind = {subject.resource, *(consent.resource for consent in subject.consents)}
        times = [version.stored_at for version in self.standing.versions if version.id in behind]
        given = [one.given_at for one in subject.consents if one.given_at is not None and one.given_at <= self.pull.now]
        return max([*times, *given])

    def last_updated(self, version: ResourceVersion) -> str:
        """Return the ``meta.lastUpdated`` of a version, if the view sees it at all."""
        return instant(self._updated_at(version))

    def _updated_at(self, version: ResourceVersion) -> datetime:
        since = self.entitled_at if self.patient else None
        return version.stored_at if since is None else max(version.stored_at, since)

    def _decide(self, version: ResourceVersion, links: Links | None = None) -> Let | None:
        # What is said of something that belongs to nobody concerns whoever sees that.
        of_others = version.type in SAYS_OF_OTHERS
        if not self.patient and not of_others and not self.pull.concerns(self.rights, version):
            return None
        return self.let(version, links)

    def let(self, version: ResourceVersion, links: Links | None = None) -> Let | None:
        """Return the form that release lets out, nobody asking whether what belongs to nobody concerns the view."""
        # What may not leave is decided on before anything else is read for it: that takes no longer than to miss it.
        if self._releasing.permitted(version, self.subject) is not None:
            return None
        self._read_ahead(version)
        if links is None or version.type in SAYS_OF_OTHERS:
            links = self._targets if version.type in SAYS_OF_OTHERS else self._links
        for lets in () if self._whole else (self._lets, self.pull.lets):  # of a whole chart each is formed once anyhow
            known = lets.find(version, self.rights, self.subject, links)
            if known is not None:
                return known
        let = self._releasing.shaped(version, self.subject, links)
        if not isinstance(let, Let):
            return None
        if self._open[:-1] and not self._whole:  # others will refer to it too
            self.pull.lets.keep(version, self.rights, self.subject, links, let)
        return let

    def _form(self, version: ResourceVersion, let: Let) -> Seen:
        at = self._updated_at(version)
        text = stamped(version, let, at)
        if self.pull.release == "R5":
            text = codec.encode(self._in_r5(version, codec.decode(text)))
        return Seen(version.type, let.id, text, at, version, self.rights.view)

    def _in_r5(self, version: ResourceVersion, body: dict[str, Any]) -> dict[str, Any]:
        """Return the R5 form; of a ResearchSubject with the states it was in before, those the recipient may see."""
        if version.type != "ResearchSubject" or version.version == 1:
            return to_r5(body)
        before = (one for one in self.pull.tx.resources.versions(version.id) if one.version <= version.version)
        said = [one.status for one in before if one.patient == self.patient]
        states = [state for state, _ in groupby(said) if state in self.rights.recipient.statuses]
        return to_r5(body, states[:-1])

    def _reach(self, reference: str) -> bool:
        type, _, id = reference.partition("/")
        head = self._head(id)
        if head is None or head.type != type:
            return False
        if not self.patient and head.patient:  # a member of a Group
            return self.pull.chart(self.rights, head.patient).sees(head)
        if head.patient not in ("", self.patient):
            return False
        if not head.patient:
            # What belongs to nobody is seen because it is referred to, here.
            return self._releasing.permitted(head, None) is None
        if id in self._open:
            self._relied.add(id)  # it refers to what refers to it
            return True
        return self.sees(head)

    def _reach_now(self, reference: str) -> bool:
        """Whether what an earlier version refers to may be seen: what belongs to nobody only where it concerns yet."""
        if not self._reach(reference):
            return False
        head = self._head(reference.partition("/")[2])
        return head is not None and (bool(head.patient) or self.pull.concerns(self.rights, head))

    def _reach_seen(self, reference: str) -> bool:
        """Whether the view sees what belongs to nobody: it need not, only because something is said of it."""
        type, _, id = reference.partition("/")
        head = self._head(id)
        return head is not None and head.type == type and not head.patient and self.sees(head)

    def _forget(self) -> None:
        """Decide again on everything: something was taken to be seen, while it was being decided on, that is not."""
        self._decided = {id: let for id, let in self._decided.items() if let is None}
        self._formed.clear()
        self._relied.clear()
        self._links.forget()
        self._targets.forget()
        self._before.forget()

    def _read_all(self) -> None:
        """Read everything of the patient, or all that belongs to nobody, once."""
        if not self._whole:
            found = self.pull.tx.resources.of_patient(self.patient)
            self._heads.update((head.id, head) for head in found)
            self._whole = True

    def _head(self, id: str) -> ResourceVersion | None:
        if id not in self._heads:
            self._heads[id] = self.pull.tx.resources.heads((id,)).get(id)
        return self._heads[id]

    def meet(self, types: Collection[str]) -> None:
        """Read ahead for all that is of these types, where all of it will be looked at."""
        met = [head for head in self._heads.values() if head is not None and head.type in types and self._is_own(head)]
        seen = {type.encode() for type in self.rights.types}
        bodies = b"".join([head.body for head in met])
        ids = b"/".join({id for kind, id in _REFERENCE.findall(bodies) if kind in seen})
        named = set(ids.decode().split("/")) if ids else set()
        missing = named - self._heads.keys()
        if missing:
            found = self.pull.tx.resources.heads(missing)
            self._heads.update((id, found.get(id)) for id in missing)
        self._releasing.ids.meet({*named, *(head.id for head in met)})
        self._met = self._met.union(types)

    def _read_ahead(self, version: ResourceVersion) -> None:
        """Read what a version refers to in one go."""
        if version.type in self._met:
            return
        named = {id.decode() for kind, id in _REFERENCE.findall(version.body) if kind.decode() in self.rights.types}
        missing = named - self._heads.keys()
        if missing:
            found = self.pull.tx.resources.heads(missing)
            self._heads.update((id, found.get(id)) for id in missing)


def _weak(reach: Reachable) -> Reachable:
    """Return what asks a chart without keeping it: thousands of resources go as soon as nobody needs them."""
    of_chart = WeakMethod(reach)

    def reachable(reference: str) -> bool:
        asking = of_chart()
        return asking is not None and asking(reference)

    return reachable
