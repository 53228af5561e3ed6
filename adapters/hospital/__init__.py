"""Hospital systems: MLLP, folders, and the client that sends."""
