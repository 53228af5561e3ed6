"""Trial Gateway: hospital HL7 v2 in, FHIR released and delivered to trial systems."""

__version__ = "0.3.0"
