"""The ledger: only a live, well-formed lease of a role that counts means attended."""

from __future__ import annotations

from datetime import timedelta

import msgspec
import pytest

from support.factories import NOON
from tocsin_agent.delivery.presence import PresenceLedger
from tocsin_agent.delivery.settings import PresenceSettings
from tocsin_agent.messages.alert import Audience
from tocsin_agent.messages.lease import Lease, LeaseState, encode_lease, make_lease

ROLE = "cardiologist"


def ledger_with(payload: bytes, role: str = ROLE) -> PresenceLedger:
    ledger = PresenceLedger()
    ledger.connected()
    ledger.feed(role, payload)
    return ledger


def lease(lease_s: float = 60.0, state: LeaseState = LeaseState.PRESENT) -> bytes:
    return encode_lease(make_lease(ROLE, "dr-k", lease_s, NOON, state))


def after(seconds: float) -> timedelta:
    return timedelta(seconds=seconds)


def test_a_live_lease_attends_and_names_its_holder() -> None:
    view = ledger_with(lease()).view(NOON + after(59.9))
    assert view.attended
    assert (view.audience, view.reason, view.role, view.id) == (
        Audience.BEDSIDE,
        "lease",
        ROLE,
        "dr-k",
    )
    assert not view.handover


def test_a_lease_ends_at_the_moment_that_it_states() -> None:
    ledger = ledger_with(lease())
    view = ledger.view(NOON + after(60))
    assert not view.attended
    assert (view.audience, view.reason, view.id) == (Audience.TEAM, "expired", "dr-k")
    assert ledger.next_expiry(NOON) == NOON + after(60)
    assert ledger.next_expiry(NOON + after(60)) is None


@pytest.mark.parametrize("state", [LeaseState.RELEASED, LeaseState.GONE])
def test_released_or_gone_is_absent(state: LeaseState) -> None:
    view = ledger_with(lease(state=state)).view(NOON)
    assert (view.attended, view.reason) == (False, "released")


def test_no_lease_is_none_and_no_connection_is_unknown() -> None:
    ledger = PresenceLedger()
    ledger.feed(ROLE, lease())
    assert ledger.view(NOON).reason == "unknown"
    ledger.connected()
    assert ledger.view(NOON).attended
    ledger.disconnected()
    assert ledger.view(NOON).reason == "unknown"
    ledger.connected()
    assert ledger.view(NOON).reason == "none"


def test_a_cleared_topic_is_none() -> None:
    ledger = ledger_with(lease())
    ledger.feed(ROLE, b"")
    assert ledger.view(NOON).reason == "none"


GOOD = msgspec.json.decode(lease(), type=dict[str, object])


@pytest.mark.parametrize(
    "payload",
    [
        b"present",
        b"{}",
        b"\xff\xfe",
        b"[" * 4000,
        lease(601.0),
        lease(-1.0),
        lease(0.0),
        encode_lease(make_lease("nurse", "n", 60, NOON)),
        msgspec.json.encode(GOOD | {"id": "x" * 5000}),
        msgspec.json.encode(GOOD | {"id": "x" * 129}),
        msgspec.json.encode(GOOD | {"id": ""}),
        msgspec.json.encode(GOOD | {"state": "perhaps"}),
        msgspec.json.encode(GOOD | {"surplus": 1}),
        msgspec.json.encode(GOOD | {"schema": "tocsin/presence/v2"}),
        msgspec.json.encode(GOOD | {"expires_at": "2026-03-01T12:01:00"}),
        msgspec.json.encode(GOOD | {"expires_at": None}),
        msgspec.json.encode(GOOD | {"issued_at": NOON + after(61), "expires_at": NOON + after(90)}),
    ],
)
def test_an_invalid_lease_is_malformed_and_so_absent(payload: bytes) -> None:
    view = ledger_with(payload).view(NOON)
    assert (view.attended, view.audience, view.reason) == (False, Audience.TEAM, "malformed")


def test_a_malformed_message_ends_a_live_lease() -> None:
    ledger = ledger_with(lease())
    ledger.feed(ROLE, b"?")
    assert not ledger.view(NOON).attended


def test_a_small_skew_is_accepted_and_a_clock_that_is_set_back_is_not() -> None:
    ledger = ledger_with(lease())
    assert ledger.view(NOON - after(59)).attended
    assert ledger.view(NOON - after(61)).reason == "malformed"


def test_the_longest_lease_and_the_roles_are_settings() -> None:
    settings = PresenceSettings(roles=("nurse", ROLE), max_lease_s=30.0)
    ledger = PresenceLedger(settings)
    ledger.connected()
    ledger.feed(ROLE, lease(31.0))
    ledger.feed("porter", encode_lease(make_lease("porter", "p", 20, NOON)))
    assert ledger.view(NOON).reason == "malformed"
    ledger.feed("nurse", encode_lease(make_lease("nurse", "n", 20, NOON)))
    view = ledger.view(NOON)
    assert (view.attended, view.role, view.id) == (True, "nurse", "n")


def test_without_roles_everything_goes_to_the_team() -> None:
    ledger = PresenceLedger(PresenceSettings(roles=()))
    ledger.connected()
    ledger.feed(ROLE, lease())
    assert ledger.view(NOON).reason == "none"


def test_a_lease_survives_its_own_encoding() -> None:
    made = make_lease(ROLE, "dr-k", 60, NOON)
    assert msgspec.json.decode(encode_lease(made), type=Lease) == made


def test_no_lease_is_made_that_an_agent_would_refuse() -> None:
    for holder in ("", "x" * 129):
        with pytest.raises(ValueError, match="use 1 to 128"):
            make_lease(ROLE, holder, 60.0, NOON)
    assert ledger_with(encode_lease(make_lease(ROLE, "x" * 128, 60.0, NOON))).view(NOON).attended


def test_a_role_that_is_not_a_topic_level_is_refused() -> None:
    for role in ("", "a/b", "+", "#"):
        with pytest.raises(ValueError, match="cannot be a topic level"):
            PresenceSettings(roles=(ROLE, role))


def test_row_6_a_deeply_nested_lease_counts_as_absent() -> None:
    view = ledger_with(b'{"id":' + b"[" * 1500 + b"]" * 1500 + b"}").view(NOON)
    assert (view.attended, view.reason) == (False, "malformed")


def test_row_18_a_lease_cannot_forge_a_log_line(caplog: pytest.LogCaptureFixture) -> None:
    forged = lease().replace(b'"state"', b'"st\\n2026-01-01 ERROR \\u001b[31m"')
    assert ledger_with(forged).view(NOON).reason == "malformed"
    assert len(caplog.messages) == 1
    assert caplog.messages[0].isprintable()
