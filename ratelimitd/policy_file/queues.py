"""``queue`` of a limit: how requests wait that it denies."""

from ratelimitd.algorithms import Rate
from ratelimitd.config.problems import Notes
from ratelimitd.config.readers import Fields
from ratelimitd.policy import Queue

from .holds import ReadFields


def read_queue(notes: Notes, fields: Fields, rate: Rate | None, read: ReadFields) -> Queue | None:
    """Read the ``queue`` of a limit with this rate; errors are noted."""
    node = fields.get("queue")
    if node is None:
        return None
    own, plain = read(notes, node, "queue"), Queue()
    if rate is not None and not rate.quota:
        notes.error(node.line, "a limit of 0 denies all, so nothing can wait for it: remove queue")
    return Queue(own.get("length", plain.length), own.get("timeout", plain.timeout))
