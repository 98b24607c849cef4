"""What the page fetches: one alert, the history, the trends. From store and picture."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import msgspec

from tocsin_agent.messages.active import AlertState
from tocsin_agent.messages.alert import Audience, Phase
from tocsin_agent.messages.trend import Trend
from tocsin_agent.team.board.ward import Device
from tocsin_agent.team.console.picture import Picture
from tocsin_agent.team.console.protocol import (
    AlertPage,
    AlertView,
    Event,
    HistoryPage,
    TrendPage,
    TrendPoint,
)
from tocsin_agent.team.console.store import Kept, Store
from tocsin_agent.team.console.wording import Latest, short, strip_view, view_of_document
from tocsin_agent.team.language import Language, place_of


def alert_page(
    store: Store, picture: Picture, device: Device, alert_id: str, language: Language
) -> AlertPage | None:
    """Return all that is known of an alert; None if there is no document of it."""
    kept = [
        one for one in store.documents(alert_id) if (one.alert.site, one.alert.device) == device
    ]
    if not kept:
        return None
    latest = kept[-1]
    onset = next((one for one in kept if one.alert.phase is Phase.ONSET), None)
    now_strip = next((one for one in reversed(kept) if one.alert.strip is not None), None)
    view, is_open = _now(picture, latest, language)
    return AlertPage(
        alert=view,
        place=short(place_of(latest.alert)),
        patient=short(latest.alert.patient) if latest.alert.patient else None,
        open=is_open,
        onset_strip=strip_view(onset.alert) if onset is not None else None,
        strip=strip_view(now_strip.alert) if now_strip is not None else None,
        events=tuple(_events(store, alert_id, device, kept, language)),
        document=msgspec.to_builtins(msgspec.structs.replace(latest.alert, strip=None)),
    )


def _events(
    store: Store, alert_id: str, device: Device, kept: Sequence[Kept], language: Language
) -> list[Event]:
    texts = {one.alert.phase.value: short(language.sentence(one.alert)) for one in kept}
    return [
        Event(
            at=one.at,
            site=one.site,
            device=one.device,
            alert_id=one.alert_id,
            event=one.event,
            who=short(one.who) if one.who else None,
            text=texts.get(one.event) or short(one.text),
        )
        for one in store.events(alert_id)
        if (one.site, one.device) == device
    ]


def history_page(
    store: Store,
    picture: Picture,
    language: Language,
    *,
    site: str,
    device: str,
    before: datetime | None,
    limit: int,
) -> HistoryPage:
    """Return alerts, the newest first."""
    if before is not None and before.tzinfo is None:
        before = before.replace(tzinfo=UTC)
    kept = store.latest(site=site, device=device, before=before, limit=limit + 1)
    views = [_now(picture, one, language)[0] for one in kept[:limit]]
    return HistoryPage(alerts=tuple(views), more=len(kept) > limit)


def _now(picture: Picture, kept: Kept, language: Language) -> tuple[AlertView, bool]:
    """Return an alert as it is now, and whether its device lists it as open."""
    alert = kept.alert
    known = picture.open_alert((alert.site, alert.device), alert.alert_id, language)
    if known is not None:
        return known, True
    view = view_of_document(Latest(alert, Audience(kept.audience), kept.unproven), language)
    return msgspec.structs.replace(view, state=AlertState.CLOSED), False


def trend_page(site: str, device: str, hours: float, trends: Sequence[Trend]) -> TrendPage:
    """Return the minutes of a bed."""
    return TrendPage(
        site=site, device=device, hours=hours, points=tuple(_point(one) for one in trends)
    )


def _point(trend: Trend) -> TrendPoint:
    rate, changes = trend.heart_rate_bpm, [st.change_mv for st in trend.st.values()]
    known = [change for change in changes if change is not None]
    return TrendPoint(
        at=trend.from_at,
        heart_rate_bpm=rate.mean if rate else None,
        lowest_bpm=rate.min if rate else None,
        highest_bpm=rate.max if rate else None,
        ventricular_beats=trend.ventricular_beats,
        ventricular_per_hour=trend.ventricular_per_hour,
        af_percent=trend.atrial_fibrillation_percent,
        pauses=trend.pauses,
        signal_s=trend.signal_s,
        quality=max(trend.quality.values(), default=None),
        sdnn_ms=trend.variability.sdnn_ms if trend.variability else None,
        st_change_mv=max(known, key=abs, default=None),
    )
