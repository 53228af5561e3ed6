"""What becomes what: HL7 v2 messages, segments, datatypes and tables to FHIR R4."""
