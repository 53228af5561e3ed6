"""The clients of the FHIR API, as systems that we ask something of."""
