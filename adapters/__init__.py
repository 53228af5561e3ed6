"""The edges: each adapter knows one outside system."""
