"""A process that takes messages over MLLP, HTTP and from a folder, so that a test can look at its memory.

``python -m tests.fuzzing.receiving FOLDER`` prints where it listens and ends when its standard input does.
"""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path

import structlog

from adapters.hospital.folder import FolderWatcher
from gateway.api.app import create_app
from gateway.api.server import HttpServer
from gateway.model.site import Feed
from gateway.services.metrics import Metrics
from tests.listening import clock, listening, sqlite_store


def main():
    """Serve until nobody holds the other end of standard input."""
    folder = Path(sys.argv[1])
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    over_http = Feed("ehr", "north", "http")
    watched = Feed("files", "north", "folder", path=str(folder / "files"), look_seconds=0.1)
    with sqlite_store(folder) as store, listening(store, Feed("lis", "north", port=0)) as running:
        app = create_app(running.intake, {"ehr": over_http}, None, Metrics().registry)
        server = HttpServer(app, host="127.0.0.1", port=0)
        watcher = FolderWatcher([watched], running.intake, clock)
        watcher.start()
        sys.stdout.write(json.dumps({"mllp": running.ports["lis"], "http": server.address}) + "\n")
        sys.stdout.flush()
        sys.stdin.read()
        watcher.stop()
        server.stop()


if __name__ == "__main__":
    main()
