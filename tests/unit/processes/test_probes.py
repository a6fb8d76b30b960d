"""The server that answers probes and scrapes: nobody who only connects keeps it from answering."""

import logging
import socket
import struct
from contextlib import ExitStack

import httpx
import pytest
from structlog.testing import capture_logs

from argosy.processes import probes


@pytest.fixture(autouse=True)
def others_say_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """What other tests set up for the whole process writes nothing here."""
    monkeypatch.setattr(logging.getLogger(), "handlers", [])


@pytest.fixture
def wrong() -> dict[str, list[str]]:
    return {"dead": [], "unready": []}


@pytest.fixture
def address(wrong: dict[str, list[str]]) -> str:
    return f"http://127.0.0.1:{probes.serve('127.0.0.1', 0, lambda: wrong['dead'], lambda: wrong['unready'])}"


def told(url: str) -> tuple[int, str]:
    answer = httpx.get(url, timeout=30)
    return answer.status_code, answer.text


def connected(address: str, stack: ExitStack, count: int) -> None:
    host, port = address.removeprefix("http://").split(":")
    for _ in range(count):
        stack.enter_context(socket.create_connection((host, int(port)), timeout=30))


def test_each_path_says_what_it_is_for_and_no_other_is_there(address: str, wrong: dict[str, list[str]]) -> None:
    assert told(f"{address}/livez") == told(f"{address}/readyz?verbose") == (200, "ok\n")
    assert "argosy_launches_total" in told(f"{address}/metrics")[1]
    assert {told(address + path)[0] for path in ("/", "/healthz", "/livez/x", "/metrics/")} == {404}
    wrong["unready"] = ["the database has not answered for 11 s", "no housekeeping"]
    assert told(f"{address}/readyz") == (503, "the database has not answered for 11 s\nno housekeeping\n")
    assert told(f"{address}/livez") == (200, "ok\n")
    wrong["dead"] = ["the loop has not turned"]
    assert told(f"{address}/livez") == (503, "the loop has not turned\n")


@pytest.mark.parametrize("count", [1, 2 * probes._CONNECTIONS])
def test_connections_that_say_nothing_hold_up_no_probe(
    address: str, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probes._Handler, "timeout", None)  # they are never given up for being silent
    with ExitStack() as stack:
        connected(address, stack, count)
        assert told(f"{address}/livez") == (200, "ok\n")


def test_a_scrape_that_is_broken_off_is_no_defect_and_prints_nothing(
    address: str, capfd: pytest.CaptureFixture[str]
) -> None:
    host, port = address.removeprefix("http://").split(":")
    with capture_logs() as logged:
        for _ in range(20):
            with socket.create_connection((host, int(port)), timeout=30) as scrape:
                scrape.sendall(b"GET /metrics HTTP/1.1\r\nHost: here\r\n\r\n")
                reset = struct.pack("ii", 1, 0)
                scrape.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset)
        assert told(f"{address}/livez") == (200, "ok\n")
    assert capfd.readouterr() == ("", "")
    assert {line["log_level"] for line in logged} <= {"debug"}


def test_a_defect_in_an_answer_is_logged_and_the_next_one_comes(
    address: str, wrong: dict[str, list[str]], capfd: pytest.CaptureFixture[str]
) -> None:
    del wrong["dead"]
    with capture_logs() as logged:
        with pytest.raises(httpx.RemoteProtocolError):
            told(f"{address}/livez")
        assert told(f"{address}/readyz") == (200, "ok\n")
    told_of = [
        line["event"] for line in logged if line["log_level"] != "debug"
    ]  # a scrape of the test before may end only now
    assert told_of == ["a probe or scrape could not be answered"]
    assert capfd.readouterr() == ("", "")
