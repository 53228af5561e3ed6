"""Reads settings and builds everything: the only package that knows all the others.

``parts`` builds single things (store, broker, translator), ``operator``, ``keys`` and ``inspection`` what the commands
need; ``roles`` builds and runs the roles of ``gateway serve``. Imports are made where they are needed, so that a role
loads only what it runs, and a listener listens before the rest is loaded.
"""
