"""A sandbox server and clients that mean it ill: it refuses them before it has read much, and serves the others."""

import json
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from http.client import HTTPConnection

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sandbox_servers import HANG_S, Served, served

from reasonrl_sandbox import bodies
from reasonrl_sandbox.admission import RequestRefusedError
from reasonrl_sandbox.messages import MAX_PROGRAMS, has_more_values

TOKEN = {"Authorization": "Bearer right"}
HEALTH_S = 20.0
"""What a reply about the server's health takes at most, on a busy machine; hostile bodies once took minutes."""


@pytest.fixture(scope="module")
def server() -> Iterator[Served]:
    with served("--slots", "2", "--isolation", "basic", token="right") as server:
        yield server


def connected(server: Served) -> socket.socket:
    host, _, port = server.url.removeprefix("http://").partition(":")
    return socket.create_connection((host, int(port)), timeout=HANG_S)


def is_healthy(server: Served) -> bool:
    with closing(HTTPConnection(server.url.removeprefix("http://"), timeout=HEALTH_S)) as connection:
        connection.request("GET", "/healthz")
        return connection.getresponse().status == 200


# ---- before the body is read


@pytest.mark.parametrize("path", ["/v1/run", "/run_code"])
@pytest.mark.parametrize("expect", ["", "Expect: 100-continue\r\n"])
@pytest.mark.parametrize("length", ["Content-Length: 8000000000", "Transfer-Encoding: chunked"])
def test_a_client_without_the_token_is_refused_before_its_body(
    server: Served, path: str, expect: str, length: str
) -> None:
    with connected(server) as stranger:
        headers = f"Host: a\r\nContent-Type: application/json\r\nAuthorization: Bearer wrong\r\n{length}\r\n{expect}"
        stranger.sendall(f"POST {path} HTTP/1.1\r\n{headers}\r\n".encode())
        reply = stranger.recv(1000)
    assert reply.startswith(b"HTTP/1.1 401"), reply


@pytest.mark.parametrize("path", ["/v1/run", "/run_code"])
def test_a_body_that_says_it_is_too_long_is_not_asked_for(server: Served, path: str) -> None:
    with connected(server) as client:
        headers = "Host: a\r\nContent-Type: application/json\r\nAuthorization: Bearer right\r\nExpect: 100-continue\r\n"
        client.sendall(f"POST {path} HTTP/1.1\r\n{headers}Content-Length: 8000000000\r\n\r\n".encode())
        reply = client.recv(10_000)
    assert reply.startswith(b"HTTP/1.1 413")
    assert b"--max-body-mib" in reply


def test_a_body_that_is_asked_for_is_answered(server: Served) -> None:
    body = json.dumps({"programs": [{"source": "print(6 * 7)"}]}).encode()
    with connected(server) as client:
        headers = "Host: a\r\nContent-Type: application/json\r\nAuthorization: Bearer right\r\nExpect: 100-continue\r\n"
        client.sendall(f"POST /v1/run HTTP/1.1\r\n{headers}Content-Length: {len(body)}\r\n\r\n".encode())
        assert client.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.sendall(body)
        assert b"42" in client.recv(10_000)


def test_a_body_without_a_length_ends_at_the_limit(server: Served) -> None:
    with closing(HTTPConnection(server.url.removeprefix("http://"), timeout=HANG_S)) as client:
        headers = {**TOKEN, "Content-Type": "application/json"}
        client.request("POST", "/v1/run", (b" " * 65_536 for _ in range(200)), headers, encode_chunked=True)
        reply = client.getresponse()
        assert reply.status == 413
        assert "longer than 8 MiB" in json.load(reply)["message"]


def test_the_limit_is_the_one_that_the_server_was_started_with() -> None:
    with served("--slots", "1", "--isolation", "basic", "--max-body-mib", "1") as server:
        program = {"programs": [{"source": "#" * (1 << 20)}]}
        status, reply, _ = server.ask("/v1/run", program)
        assert (status, "longer than 1 MiB" in reply["message"]) == (413, True)
        assert server.ask("/v1/run", {"programs": [{"source": "#" * 1000}]})[0] == 200


# ---- bodies that take long to read


def many(before: bytes, item: bytes, number: int, after: bytes) -> bytes:
    return before + b",".join([item] * number) + after


HOSTILE = {
    "programs": ("/v1/run", many(b'{"programs":[', b'{"source":""}', 500_000, b"]}")),
    "objects": ("/v1/run", many(b'{"programs":[', b"{}", 2_500_000, b"]}")),
    "numbers": ("/v1/run", many(b'{"programs":[', b"1", 4_000_000, b"]}")),
    "unknown keys": ("/v1/run", b"{" + b",".join(b'"k%d":0' % number for number in range(600_000)) + b"}"),
    "files": (
        "/run_code",
        b'{"code":"","files":{' + b",".join(b'"%d":""' % number for number in range(600_000)) + b"}}",
    ),
    "fetched files": ("/run_code", many(b'{"code":"","fetch_files":[', b'"a"', 1_500_000, b"]}")),
}


def test_requests_of_very_many_values_are_refused_while_the_server_stays_up(server: Served) -> None:
    """Half a million programs took the event loop 4 seconds, a few million numbers 40."""
    with ThreadPoolExecutor() as threads:
        replies = [threads.submit(server.ask, path, body, TOKEN) for path, body in HOSTILE.values()]
        while not all(reply.done() for reply in replies):
            assert is_healthy(server)
        for reply in replies:
            status, message, _ = reply.result()
            assert status == 413
            assert f"at most {MAX_PROGRAMS} programs" in message["message"]


def test_more_programs_than_one_request_may_have_are_refused_by_number(server: Served) -> None:
    status, reply, _ = server.ask("/v1/run", {"programs": [{"source": ""}] * (MAX_PROGRAMS + 1)}, TOKEN)
    assert (status, f"at most {MAX_PROGRAMS} items" in reply["message"]) == (400, True)
    status, reply, _ = server.ask("/v1/run", {"programs": [{"source": ""}] * MAX_PROGRAMS}, TOKEN)
    assert (status, "this server takes at most 10" in reply["message"]) == (413, True)


ODD_BODIES = {
    "deep lists": b"[" * 1_000_000,
    "deep objects": b'{"programs":' * 500_000,
    "deep but closed": b"[" * 5_000 + b"]" * 5_000,
    "a huge integer": b'{"programs": ' + b"9" * 1_000_000 + b"}",
    "a huge limit": b'{"programs": [{"source": "", "limits": {"memory_mib": ' + b"9" * 4_000 + b"}}]}",
    "a huge exponent": b'{"code": "", "run_timeout": 1e999999999}',
    "not a number": b'{"code": "", "run_timeout": NaN}',
    "bad UTF-8": b'{"code": "\xff\xfe"}',
    "half a character": rb'{"code": "\ud800"}',
    "a nul": b'{"code": ""}\0',
    "two values": b"{}{}",
    "an open string": b'{"code": "' + rb"\"" * 1_000_000,
    "an unknown key": b'{"code": "", "programs": [{"source": ""}], "cod": 1}',
    "nothing": b"",
}


@pytest.mark.parametrize("path", ["/v1/run", "/run_code"])
@pytest.mark.parametrize("what", ODD_BODIES)
def test_a_body_that_is_no_request_is_refused_and_said_to_be_none(server: Served, path: str, what: str) -> None:
    status, reply, _ = server.ask(path, ODD_BODIES[what], TOKEN)
    assert status in (400, 413)
    assert reply["status"] == "SandboxError"
    assert 0 < len(reply["message"]) < 500
    assert server.ask(path, b"{}", TOKEN)[0] == 400


def test_a_body_in_another_encoding_is_refused_unread(server: Served) -> None:
    for header in ({"Content-Encoding": "gzip"}, {"Content-Encoding": "identity, br"}):
        status, reply, _ = server.ask("/run_code", b"\x1f\x8b" + bytes(1000), {**TOKEN, **header})
        assert (status, "without Content-Encoding" in reply["message"]) == (415, True)


# ---- clients that are slow, or many


def test_many_clients_that_send_their_body_slowly_do_not_keep_others_out(server: Served) -> None:
    head = "POST /v1/run HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nAuthorization: Bearer right\r\n"
    with ExitStack() as stack:
        slow = [stack.enter_context(connected(server)) for _ in range(200)]
        for client in slow:
            client.sendall(f"{head}Content-Length: 8000000\r\n\r\n[".encode())
        for client in slow[::10]:
            client.sendall(b" ")
            assert is_healthy(server)
        assert server.ask("/run_code", {"code": "print(1)"}, TOKEN)[1]["run_result"]["stdout"] == "1\n"


def test_bodies_that_are_under_way_share_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "MAX_HELD_BODIES", 2)
    reader = bodies.BodyReader(1)
    reader._hold(1 << 20, 0)
    reader._hold(1 << 20, 0)
    with pytest.raises(RequestRefusedError, match="come back later"):
        reader._hold(1, 0)


def test_a_program_cannot_make_its_reply_long_to_read(server: Served) -> None:
    writes = "import os; os.write(4, b'{' + b','.join(b'\"%d\":\"\"' % n for n in range(60_000)) + b'}'); os._exit(0)"
    code = {"code": writes, "fetch_files": ["a"], "run_timeout": 20}
    status, reply, _ = server.ask("/run_code", code, TOKEN)
    assert (status, reply["files"]) == (200, {})


# ---- counting values

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


def num_values(tree: object) -> int:
    inner = tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list) else ()
    return 1 + sum(map(num_values, inner))


@given(JSON, st.booleans())
@settings(max_examples=50)
def test_values_are_counted_by_what_stands_outside_of_strings(tree: object, escaped: bool) -> None:
    body = json.dumps(tree, ensure_ascii=escaped).encode(errors="surrogatepass")
    assert not has_more_values(body, 2 * num_values(tree))
    assert has_more_values(body, (num_values(tree) - 1) // 2) or num_values(tree) == 1
