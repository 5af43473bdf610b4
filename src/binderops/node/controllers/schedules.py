"""Cron schedules as Kubernetes has them: five fields or a macro (`@hourly`), in a time zone or in UTC."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError

_MACROS = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
# cronsim also knows seconds, `L`, `LW` and `5#2`, which Kubernetes does not.
_FIELD = re.compile(r"[0-9A-Za-z*,/?-]+")
_NAMES = re.compile(r"(?i)\b(sun|mon|tue|wed|thu|fri|sat|jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)\b")
_YEARS = timedelta(days=366 * 5)


class Schedule:
    """Scheduled times, by `parse_schedule`."""

    def __init__(self, expression: str, zone: tzinfo) -> None:
        self._expression = expression
        self._zone = zone

    def after(self, moment: datetime) -> datetime | None:
        """The first scheduled time after `moment`, in UTC; None if there is none within years."""
        return self._next(moment, reverse=False)

    def at_or_before(self, moment: datetime) -> datetime | None:
        """The last scheduled time that is not after `moment`, in UTC; None if there is none within years."""
        return self._next(moment + timedelta(seconds=1), reverse=True)

    def _next(self, moment: datetime, *, reverse: bool) -> datetime | None:
        try:
            found = next(CronSim(self._expression, moment.astimezone(self._zone), reverse=reverse))
        except StopIteration:
            return None
        found = found.astimezone(UTC)
        return found if abs(found - moment) <= _YEARS else None


def parse_schedule(text: str, zone: str | None = None) -> Schedule:
    """A schedule. ValueError says what is wrong with it, or with the time zone."""
    expression = _MACROS.get(text.strip(), text.strip())
    if re.match(r"(CRON_)?TZ=", expression):
        raise ValueError(f"schedule {text!r}: a time zone belongs into spec.timeZone")
    fields = expression.split()
    if len(fields) != 5 or not all(_FIELD.fullmatch(field) for field in fields):
        raise ValueError(f"schedule {text!r} is not five fields of a cron schedule (@every is not supported)")
    if re.search(r"[A-Za-z]", _NAMES.sub("", expression)):
        raise ValueError(f"schedule {text!r} has a word that is no month and no day of the week")
    expression = " ".join("*" + field[1:] if field.startswith("?") else field for field in fields)
    try:
        CronSim(expression, datetime(2000, 1, 1, tzinfo=UTC))
    except (CronSimError, ValueError) as error:
        raise ValueError(f"schedule {text!r}: {error}") from error
    return Schedule(expression, _zone(zone))


def _zone(name: str | None) -> tzinfo:
    if not name:
        return UTC
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError(f"unknown time zone {name!r}") from error
