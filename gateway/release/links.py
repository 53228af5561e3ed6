"""Where references lead: the ids under which a view knows resources, and what a package may point to."""

from __future__ import annotations

from collections.abc import Callable

from gateway.fhir.references import split
from gateway.release.policy import Rights

Reachable = Callable[[str], bool]
"""Whether the view has, or gets in the same package, what an internal ``Type/id`` names."""

Asked = tuple[tuple[str, str | None], ...]
"""The references an element held, in their order, and as what each left (None: not at all)."""


class Ids:
    """The ids under which a view knows resources, each worked out once."""

    def __init__(self, rights: Rights) -> None:
        self.study = f"ResearchStudy/{rights.study.resource}"
        self._rights = rights
        self._pointed: dict[str, tuple[str, str] | None] = {}
        self._public: dict[str, str] = {}

    def meet(self, ids: set[str]) -> None:
        """Learn at once the ids under which the view knows these; what is no UUID is left out."""
        self._public |= self._rights.public_ids(ids - self._public.keys())

    def public(self, internal: str) -> str:
        """Return the id under which the view knows a resource. Raises ``ValueError`` when it is no UUID."""
        known = self._public.get(internal)
        if known is None:
            known = self._public[internal] = self._rights.public_id(internal)
        return known

    def pointed(self, reference: str) -> tuple[str, str] | None:
        """Return what a reference names, internal ``Type/id`` and the view's own; None where no view may follow it.

        The view's own is ``""`` for an id that is no UUID.
        """
        if reference not in self._pointed:
            self._pointed[reference] = self._point(reference)
        return self._pointed[reference]

    def plain(self, kind: str, id: str) -> str | None:
        """Return the view's own id for a UUID as it is written here; None where no view may follow it."""
        if kind not in self._rights.types:
            return None
        return self._public.get(id) or self.public(id)

    def _point(self, reference: str) -> tuple[str, str] | None:
        parts = split(reference)
        if parts is None or "://" in reference or parts[0] not in self._rights.types:
            return None
        kind, id = parts
        try:
            return f"{kind}/{id}", f"{kind}/{self.public(id)}"
        except ValueError:
            return f"{kind}/{id}", ""


class Links:
    """Where the references of a patient's resources lead in one package (patient ``""``: those of shared ones).

    ``stood`` are the answers that hold: who finds what an element asked among them need not ask again.
    """

    def __init__(self, ids: Ids, pseudonymous: bool, patient: str, reachable: Reachable | None) -> None:
        self.stood: set[Asked] = set()
        self._targets: dict[str, str | None] = {}
        self._ids = ids
        self._own = f"Patient/{patient}" if pseudonymous and patient else ""
        self._reachable = reachable

    def target(self, reference: str) -> str | None:
        """Return the reference as the view knows it; None when the view may not see what it names."""
        if reference in self._targets:
            return self._targets[reference]
        target = self._targets[reference] = self._target(reference)
        return target

    def plain(self, kind: str, id: str) -> str | None:
        """Do as ``target`` for ``Type/id``, the id a UUID as it is written here."""
        reference = f"{kind}/{id}"
        if reference not in self._targets:
            public = self._ids.plain(kind, id)
            led = public is not None and self._leads(reference)
            self._targets[reference] = f"{kind}/{public}" if led else None
        return self._targets[reference]

    def still(self, asked: Asked) -> bool:
        """Whether references lead where they led before."""
        if not all(self.target(reference) == target for reference, target in asked):
            return False
        self.stood.add(asked)
        return True

    def forget(self) -> None:
        """Ask again for everything: an answer has changed."""
        self._targets.clear()
        self.stood.clear()

    def _target(self, reference: str) -> str | None:
        known = self._ids.pointed(reference)
        if known is None:
            return None
        internal, public = known
        return public if public and self._leads(internal) else None

    def _leads(self, internal: str) -> bool:
        if self._own and internal != self._own and internal.startswith("Patient/"):
            return False  # to another patient
        if self._reachable is not None:
            return self._reachable(internal)
        return internal == self._ids.study or not internal.startswith("ResearchStudy/")  # nobody knows of which study
