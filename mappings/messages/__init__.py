"""Message structures: which segments make which resources."""
