"""Every setting of the service: one table from which environment, flags, ``--help`` and docs come."""

from ratelimitd.settings.reader import Problem, SettingsError, load
from ratelimitd.settings.redis_url import RedisUrl, credentials
from ratelimitd.settings.rows import Row, Secret, Status
from ratelimitd.settings.table import MAIN_REDIS, PER_SECOND_REDIS, ROWS, RedisVariables, Settings

__all__ = [
    "MAIN_REDIS",
    "PER_SECOND_REDIS",
    "ROWS",
    "Problem",
    "RedisUrl",
    "RedisVariables",
    "Row",
    "Secret",
    "Settings",
    "SettingsError",
    "Status",
    "credentials",
    "load",
]
