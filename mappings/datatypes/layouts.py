"""Layouts of dates that only one site uses (``Site.date_formats``)."""

from __future__ import annotations

from datetime import datetime

from gateway.model.site import Site


def by_site_layout(text: str, site: Site) -> str:
    """Return the text in HL7's layout, if one of the site's own layouts reads it; ``""`` otherwise."""
    for layout in site.date_formats:
        try:
            moment = datetime.strptime(text, layout)  # noqa: DTZ007 - the zone is added later, with the site's rules
        except ValueError:
            continue
        return moment.strftime(_hl7_layout(layout))
    return ""


def _hl7_layout(layout: str) -> str:
    """Return the HL7 layout of the same precision.

    >>> _hl7_layout("%d/%m/%y"), _hl7_layout("%d.%m.%Y %H:%M")
    ('%Y%m%d', '%Y%m%d%H%M')
    """
    made = "%Y"
    for directive in ("%m", "%d", "%H", "%M", "%S"):
        if directive not in layout:
            break
        made += directive
    return made
