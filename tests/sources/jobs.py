"""Jobs of the child that parses."""

from ratelimitd.sources import loader
from ratelimitd.sources.files import BYTES_DEFAULT
from ratelimitd.sources.frames import LoadJob


def job(source, algorithm="fixed_window"):
    """Return a job as the loader makes it, without options."""
    return LoadJob(source, algorithm, merge_domains=False, most=BYTES_DEFAULT, memory=loader.memory_for(BYTES_DEFAULT))
