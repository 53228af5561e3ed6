"""The FHIR API over sockets. A package, so that its units end with its tests."""
