"""Lines that cannot be written are counted, and the work goes on."""

import io

from gateway.cli.unfailing import Unfailing


class FullDisk(io.StringIO):
    full = False

    def write(self, text):
        if self.full:
            raise OSError(27, "File too large")
        return super().write(text)


def test_a_line_the_disk_does_not_take_stops_nobody_and_is_counted():
    stream = FullDisk()
    log = Unfailing(stream)
    log.write("one\n")
    stream.full = True
    log.write("two\n")
    log.write("three\n")
    stream.full = False
    log.write("four\n")
    assert stream.getvalue() == "one\n2 log lines could not be written\nfour\n"
