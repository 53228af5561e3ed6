"""FHIR as plain dicts: exact JSON, checks, references, Bundles, the R5 view."""
