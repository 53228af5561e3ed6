"""HL7 tables to FHIR code systems, as CSV."""
