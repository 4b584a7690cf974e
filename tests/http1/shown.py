"""Heads as values that can be compared, and header lines as headers."""

from ratelimitd.http1.model import ErrorResponse, Framed


def headers_of(lines):
    """The headers that lines show, each of which has its end."""
    assert lines == b"" or lines.endswith(b"\r\n")
    return [tuple(line.split(b": ", 1)) for line in lines.split(b"\r\n")[:-1]]


def request(head):
    """All that is known of the head of a request, or why it was refused."""
    if head is None or isinstance(head, ErrorResponse):
        return head
    asked = head.method, head.asked, head.version, head.headers, head.names, head.lines
    aimed = head.target, head.path, head.query, head.authority
    return asked, aimed, head.length, head.keep_alive, head.expects, head.websocket


def response(read):
    """The same for the head of a response and its framing."""
    if read is None or isinstance(read, ErrorResponse):
        return read
    head, framed = read
    return (head.status, head.reason, head.version, head.headers, head.names, head.lines), framed


def taken(outcome):
    """The same for what ``take_request`` and ``take_response`` return."""
    if outcome is None or isinstance(outcome, ErrorResponse):
        return outcome
    *read, rest = outcome
    return request(read[0]) if isinstance(read[0], Framed) else response(read), rest
