"""The log on its way to the disk."""

import errno
import threading

import pytest

from gateway.errors import StoreUnavailable
from gateway.store.log import LogFile

FEW = 5


class Disk:
    """A disk whose visits last until they are let go."""

    def __init__(self):
        self.visits = 0
        self.begun = threading.Semaphore(0)
        self.may_end = threading.Semaphore(0)

    def __call__(self, _file):
        self.visits += 1
        self.begun.release()
        self.may_end.acquire()


@pytest.fixture
def database(tmp_path):
    (tmp_path / "gateway.db-wal").write_bytes(b"log")
    return tmp_path / "gateway.db"


def test_one_visit_serves_all_who_came_during_the_one_before(database):
    disk = Disk()
    log = LogFile(database, disk)
    first = threading.Thread(target=log.sync)
    first.start()
    disk.begun.acquire()

    later = [threading.Thread(target=log.sync) for _ in range(FEW)]
    for thread in later:
        thread.start()
    while len(log._changed._waiters) < FEW:
        pass
    disk.may_end.release()
    first.join()
    disk.begun.acquire()
    assert all(thread.is_alive() for thread in later), "the visit under way may have begun before they committed"
    disk.may_end.release()
    for thread in later:
        thread.join()

    assert disk.visits == 2


def test_each_visit_is_a_new_one(database):
    visits = []
    log = LogFile(database, visits.append)

    for number in range(1, FEW):
        log.sync()
        assert len(visits) == number


def test_a_log_that_is_not_there_has_nothing_to_keep(tmp_path):
    LogFile(tmp_path / "gateway.db").sync()


def test_a_disk_that_failed_is_not_believed_again(database):
    answers = iter([OSError(errno.EIO, "on purpose"), None])

    def sync(_file):
        if error := next(answers):
            raise error

    log = LogFile(database, sync)
    for _ in range(2):
        with pytest.raises(StoreUnavailable):
            log.sync()
