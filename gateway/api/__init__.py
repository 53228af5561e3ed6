"""The HTTP edge: HL7 over HTTP, probes, metrics."""
