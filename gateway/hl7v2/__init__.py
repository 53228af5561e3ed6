"""Reading HL7 v2: character sets, delimiters, the message view, structures, acknowledgments."""
