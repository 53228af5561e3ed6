"""National numbers whose form can be checked: a wrong check digit is said, never a reason to refuse a patient."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final

from mappings.context import Context

CODICE_FISCALE: Final = "urn:oid:2.16.840.1.113883.2.9.4.3.2"
"""Italian tax code. Codes of people without one (STP, ENI) are often sent in its place and are never it."""

CPF: Final = "urn:oid:2.16.840.1.113883.13.237"
"""Brazilian register of people."""

_STRANGERS: Final = re.compile(r"(STP|ENI)\d{13}", re.ASCII)
_CODICE: Final = re.compile(r"[A-Z]{6}[0-9LMNPQRSTUV]{2}[A-Z][0-9LMNPQRSTUV]{2}[A-Z][0-9LMNPQRSTUV]{3}[A-Z]", re.ASCII)
_ODD: Final = (1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23)
"""Values of the letters A to Z at the odd places; digits count as A to J."""


def check_national(identifier: dict[str, Any], context: Context) -> bool:
    """Check an Identifier of a known national system in place; true when it turned out not to be of that system.

    An STP or ENI code in the place of the codice fiscale gets a system of the site, with a finding. A number whose form
    or check digit is wrong stays as it came, with a finding.
    """
    system, value = identifier["system"], identifier["value"]
    stranger = _STRANGERS.fullmatch(value) if system == CODICE_FISCALE else None
    if stranger is not None:
        identifier["system"] = context.site.scoped("identifier", stranger[1])
        context.finding(f"a temporary code ({stranger[1]}) in the place of the codice fiscale: kept as what it is", 1)
        return True
    is_valid = _CHECKS.get(system)
    if is_valid is not None and not is_valid(value.upper()):
        context.finding("the national number is not well formed: its check digit or length is wrong", 1)
    return False


def is_codice_fiscale(value: str) -> bool:
    """Check the form and the last character, which counts letters put for digits (omocodia) as they stand.

    >>> is_codice_fiscale("RSSMRA85T10A562S"), is_codice_fiscale("RSSMRA85T10A562T")
    (True, False)
    """
    if not _CODICE.fullmatch(value):
        return False
    places = [ord(each) - 48 if each.isdigit() else ord(each) - 65 for each in value[:15]]
    total = sum(_ODD[place] for place in places[::2]) + sum(places[1::2])
    return ord(value[15]) - 65 == total % 26


def is_cpf(value: str) -> bool:
    """Check the two digits at the end (modulo 11); points and a dash are allowed.

    >>> is_cpf("111.444.777-35"), is_cpf("11144477734")
    (True, False)
    """
    digits = [int(each) for each in value if each.isascii() and each.isdigit()]
    if len(digits) != 11 or len(set(digits)) == 1:
        return False
    return all(_modulo_11(digits[:length]) == digits[length] for length in (9, 10))


def _modulo_11(digits: list[int]) -> int:
    weighted = sum(digit * weight for digit, weight in zip(digits, range(len(digits) + 1, 1, -1), strict=True))
    return weighted * 10 % 11 % 10


_CHECKS: Final[dict[str, Callable[[str], bool]]] = {CODICE_FISCALE: is_codice_fiscale, CPF: is_cpf}
