"""How a connection to a server of a place is made: dialled and greeted, or asked one thing and closed."""

from collections.abc import Callable
from typing import Any

import hiredis

from .greeting import Command, auth, introduction, preparation, refusal
from .link import Link, LinkError, open_link, talk
from .options import Address, Credentials, Place
from .script import Script


async def dial(
    place: Place, address: Address, script: Script, probe_key: bytes, on_lost: Callable[[Link], None]
) -> Link:
    """Return a connection for charges. Raises LinkError."""

    async def greet(link: Link) -> None:
        first = introduction(_read(place.credentials))
        for sent in (first, preparation(place, script.text, script.sha, probe_key)):
            problem = refusal(place, sent, await talk(link, sent))
            if problem:
                raise LinkError(problem)

    return await open_link(address, place.tls, place.connect_timeout, greet, on_lost)


async def ask_once(place: Place, address: Address, credentials: Callable[[], Credentials], command: Command) -> Any:
    """Return the reply to one command on a connection of its own. Raises LinkError, also for an error reply."""
    answered: list[Any] = []

    async def greet(link: Link) -> None:
        for words in (*auth(_read(credentials)), command):
            (reply,) = await talk(link, [words])
            if isinstance(reply, hiredis.ReplyError):
                raise LinkError(f"{words[0]!s} failed: {reply}")
            answered.append(reply)

    link = await open_link(address, place.tls, place.connect_timeout, greet)
    link.give_up("answered")
    return answered[-1]


def _read(credentials: Callable[[], Credentials]) -> Credentials:
    try:
        return credentials()
    except (OSError, ValueError) as error:
        raise LinkError(f"the credentials cannot be read: {error}") from error
