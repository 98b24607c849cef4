"""Logins: a random token in a cookie, its hash in the store; and limits on attempts."""

from __future__ import annotations

import hashlib
import hmac
import math
import secrets
from collections import OrderedDict
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from tocsin_agent.team.console.settings import Role
from tocsin_agent.team.console.store import Login, Store

MAX_SESSIONS = 1000
_TOUCH = timedelta(minutes=1)  # a use is written at most so often


class Sessions:
    """The logins that are valid, kept over a restart.

    Parameters
    ----------
    store : Store
    length, idle : timedelta
        A login ends after `length`, and `idle` after its last use.
    now : callable, optional
        Returns aware UTC.
    """

    def __init__(
        self,
        store: Store,
        length: timedelta,
        idle: timedelta,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._store, self._length, self._idle, self._now = store, length, idle, now
        self._logins = OrderedDict((login.key, login) for login in store.logins())
        self._confirmed: dict[str, tuple[float, Role]] = {}  # by a proxy: when, in which role

    def begin(self, user: str, role: Role, language: str, *, by_proxy: bool) -> tuple[str, Login]:
        """Return the token of a new login, which only the browser has, and the login."""
        token, now = secrets.token_urlsafe(32), self._now()
        login = Login(
            hash_of(token),
            user,
            role,
            language,
            secrets.token_urlsafe(24),
            by_proxy,
            now + self._length,
            now,
        )
        self._logins[login.key] = login
        self._store.keep_login(login)
        while len(self._logins) > MAX_SESSIONS:
            self.end(next(iter(self._logins)))
        return token, login

    def find(self, token: str) -> Login | None:
        """Return the login of a token, and note that it is used; None if it has ended."""
        login = self._logins.get(hash_of(token)) if token else None
        if login is None:
            return None
        if not self.valid(login):
            self.end(login.key)
            return None
        return self._use(login.key)

    def in_use(self, login: Login) -> bool:
        """Return whether a login has not ended, and note that a page of it is open."""
        return self.valid(login) and self._use(login.key) is not None

    def _use(self, key: str) -> Login | None:
        """Note that a login is used, and return it as it is then."""
        login, now = self._logins.get(key), self._now()
        if login is not None and now - login.used_at > _TOUCH:
            login = self._logins[key] = login._replace(used_at=now)
            self._store.keep_login(login)
        return login

    def valid(self, login: Login) -> bool:
        """Return whether a login has not ended."""
        known, now = self._logins.get(login.key), self._now()
        return known is not None and now < known.expires_at and now - known.used_at < self._idle

    def confirm(self, key: str, role: Role, now_s: float) -> None:
        """Note that the proxy has let a request of this login pass, in a role."""
        self._confirmed[key] = (now_s, role)

    def confirmed(self, login: Login, within_s: float, now_s: float) -> bool:
        """Return whether the proxy let a request of this login pass so lately, in its role."""
        at_s, role = self._confirmed.get(login.key, (-math.inf, None))
        return now_s - at_s < within_s and role == login.role

    def end(self, key: str) -> None:
        """End a login."""
        self._logins.pop(key, None)
        self._confirmed.pop(key, None)
        self._store.drop_login(key)


def hash_of(token: str) -> str:
    """Return what is kept of a token: the store does not let anybody in."""
    return hashlib.sha256(token.encode()).hexdigest()


def same(one: str, other: str) -> bool:
    """Return whether two secrets are the same, in constant time."""
    return hmac.compare_digest(one.encode(), other.encode())


class RateLimit:
    """At most so many attempts in some time for each name; pure: time is passed in.

    Parameters
    ----------
    most : int
    within_s : float
    """

    MAX_NAMES = 10_000

    def __init__(self, most: int, within_s: float) -> None:
        self._most, self._within_s = most, within_s
        self._attempts: OrderedDict[str, list[float]] = OrderedDict()

    def take(self, name: str, now_s: float) -> float:
        """Count an attempt; return 0 if it is allowed, else after how many seconds one is."""
        recent = [at for at in self._attempts.get(name, []) if now_s - at < self._within_s]
        self._attempts[name] = recent
        self._attempts.move_to_end(name)
        while len(self._attempts) > self.MAX_NAMES:
            self._attempts.popitem(last=False)
        if len(recent) >= self._most:
            return self._within_s - (now_s - recent[0])
        recent.append(now_s)
        return 0.0

    def clear(self, name: str) -> None:
        """Forget the attempts of a name: one has succeeded."""
        self._attempts.pop(name, None)
