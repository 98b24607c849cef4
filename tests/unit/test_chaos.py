"""The campaign's own judge: it must find what it is there to find."""

from __future__ import annotations

import gc
import socket
import threading
from contextlib import suppress

from hypothesis import given
from hypothesis import strategies as st

from chaos.ledger import compare, table
from chaos.proxy import Proxy

A1, A2, A3, B1 = ("a", 1), ("a", 2), ("a", 3), ("b", 1)
KEYS = st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 4)), max_size=12)


def test_delivery_that_held() -> None:
    verdict = compare([A1, A2, B1], [A1, B1, A2], frozenset())
    assert verdict.held
    assert (verdict.committed, verdict.shown) == (3, 3)


def test_what_was_never_shown_is_lost_unless_its_row_was_destroyed() -> None:
    assert compare([A1, A2, B1], [A1], frozenset([B1])).lost == (A2,)


def test_what_a_killed_broker_dropped_is_reported_and_no_loss_unless_it_was_high() -> None:
    verdict = compare([A1, A2, B1], [A1], unconfirmed=frozenset([B1]))
    assert (verdict.lost, verdict.dropped, verdict.held) == ((A2,), (B1,), False)
    assert compare([A1, B1], [A1], unconfirmed=frozenset([B1])).held


def test_what_was_shown_twice() -> None:
    assert compare([A1], [A1, A1], frozenset()).twice == (A1,)


def test_what_was_shown_after_a_later_document_of_its_alert() -> None:
    assert compare([A1, A2, A3], [A1, A3, A2], frozenset()).disordered == (A2,)


def test_what_nobody_committed() -> None:
    assert compare([], [B1], frozenset()).invented == (B1,)


@given(committed=KEYS, shown=KEYS)
def test_it_holds_only_where_each_key_is_shown_once_in_order(
    committed: list[tuple[str, int]], shown: list[tuple[str, int]]
) -> None:
    verdict = compare(committed, shown, frozenset())
    in_order = all(
        [n for who, n in shown if who == alert_id]
        == sorted({n for who, n in committed if who == alert_id})
        for alert_id in "abc"
    )
    assert verdict.held == in_order


def test_a_table_has_a_column_a_key() -> None:
    assert table([{"fault": "flood", "injected": 10}]) == (
        "fault  injected\n-----  --------\nflood  10"
    )


def test_the_proxy_passes_holds_back_and_breaks() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=_echo, args=(server,), daemon=True).start()
        with (
            Proxy(server.getsockname()[1], seed=1) as proxy,
            socket.create_connection(("127.0.0.1", proxy.port), 60.0) as client,
        ):
            client.sendall(b"one")
            assert client.recv(9) == b"one"
            proxy.black_hole = True
            client.sendall(b"two")
            client.settimeout(0.2)
            try:
                passed = client.recv(9)
            except TimeoutError:
                passed = b""
            assert passed == b""
            client.settimeout(60.0)
            proxy.heal()
            assert client.recv(9) == b"two", "nothing was dropped meanwhile"
            proxy.loss = 1.0
            client.sendall(b"three")
            assert client.recv(9) == b"", "the connection is broken"


def test_a_proxy_that_ends_closes_connections_that_nobody_reads() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        full = threading.Event()
        threading.Thread(target=_flood, args=(server, full), daemon=True).start()
        with (
            socket.socket() as client,
            Proxy(server.getsockname()[1], seed=1) as proxy,
        ):
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.connect(("127.0.0.1", proxy.port))
            assert full.wait(60.0)
    gc.collect()  # a connection that is left open is an error of this test


def _flood(server: socket.socket, full: threading.Event) -> None:
    """Send until nothing more passes."""
    connection, _ = server.accept()
    connection.settimeout(0.5)
    with connection, suppress(OSError):
        try:
            while True:
                connection.sendall(bytes(1 << 16))
        except TimeoutError:
            full.set()
        connection.recv(1)


def _echo(server: socket.socket) -> None:
    connection, _ = server.accept()
    with connection:
        while data := connection.recv(99):
            connection.sendall(data)
