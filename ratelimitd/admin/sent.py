"""What the pages of the live view hold until their clients have read it: the bounds, for a port and for all of them."""

from typing import Final

DOCUMENT_BYTES: Final = 512 << 10
"""The largest document: 200 limits of 1 to 2 KiB each, most of it the hour of a sparkline."""

UNREAD_BYTES: Final = 4 << 20
"""Events that are sent and not read, of all readers together: a tenth of the readers with the largest event, of some
128 KiB. One reader more, and the one that has read nothing for longest is dropped."""

FEED_BYTES: Final = 4 << 20
"""A reader of decisions: a second of decisions at their bound that wait, and one that is being sent; 2 KiB each."""
