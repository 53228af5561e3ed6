"""Reading and answering HL7 v2, versions 2.1 to 2.8.2: character sets, delimiters, structures, acknowledgments.

No input or output. ``message.parse`` turns bytes into a lazy view; ``structures.group`` arranges its segments as the
standard does; ``split`` takes files apart; ``peek`` reads the header alone; ``acknowledgment`` writes the answer.
"""
