"""Segments to resources, in the row order HL7 publishes."""
