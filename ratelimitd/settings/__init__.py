"""Every setting of the service: one table from which environment, flags, ``--help`` and docs come."""

from ratelimitd.settings.load import Problem, SettingsError, load
from ratelimitd.settings.redis_url import RedisAddress, RedisPlace
from ratelimitd.settings.rows import Row, Secret, Status
from ratelimitd.settings.table import ROWS, Settings

__all__ = [
    "ROWS",
    "Problem",
    "RedisAddress",
    "RedisPlace",
    "Row",
    "Secret",
    "Settings",
    "SettingsError",
    "Status",
    "load",
]
