"""The search grammar of FHIR and the matching of resources against it (R4 4.0.1 and R5 5.0.0, section 3.1.1 "Search").

Pure: a query is parsed from name-value pairs (``query``) and asked of resources as JSON objects. What can be searched
is in two tables, ``r4_parameters.csv`` and ``r5_parameters.csv``: HL7's SearchParameter definitions of our types, each
FHIRPath expression written out as the JSON paths it stands for and the datatype found there
(``effectiveDateTime:dateTime effectivePeriod:Period``). ``[Patient]`` behind a path is ``resolve() is Patient``,
``[system=email]`` is ``where(system = 'email')``, ``.`` the resource itself; a composite names what its parts are
found in, and each part. ``targets`` are the types a reference may name (``*``: any), ``systems`` the code systems that
a ``code`` element does not write. ``r4_summary.csv`` and ``r5_summary.csv`` hold the mandatory and the summary elements
of HL7's StructureDefinitions, which are published under CC0.
"""
