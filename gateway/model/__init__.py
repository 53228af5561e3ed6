"""What the gateway talks about: frozen dataclasses, no input or output."""
