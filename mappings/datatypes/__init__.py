"""HL7 v2 datatypes to FHIR datatypes."""
