"""Every setting of the service: one table for environment variables, flags, ``--help`` and docs."""

from ratelimitd.settings.measuring import UNIX
from ratelimitd.settings.reader import Problem, SettingsError, changed, load
from ratelimitd.settings.redis_url import RedisUrl, credentials
from ratelimitd.settings.redis_variables import MAIN_REDIS, PER_SECOND_REDIS, RedisVariables
from ratelimitd.settings.rows import Row, RowStatus, Secret
from ratelimitd.settings.sinks import Mogrifier, StatsSink
from ratelimitd.settings.table import ROWS, Settings
from ratelimitd.settings.xds import XDS

__all__ = [
    "MAIN_REDIS",
    "PER_SECOND_REDIS",
    "ROWS",
    "UNIX",
    "XDS",
    "Mogrifier",
    "Problem",
    "RedisUrl",
    "RedisVariables",
    "Row",
    "RowStatus",
    "Secret",
    "Settings",
    "SettingsError",
    "StatsSink",
    "changed",
    "credentials",
    "load",
]
