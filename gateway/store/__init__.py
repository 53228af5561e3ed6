"""The truth: tables, queries, migrations, encryption at rest."""
