"""The FHIR API: ``/fhir/r4`` and ``/fhir/r5`` (FHIR R4 4.0.1 and R5 5.0.0, RESTful API)."""
