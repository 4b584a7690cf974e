"""What a Redis might send: the right replies, and those with something wrong in them."""

import json
from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

from tests.fuzz.documents import mostly

Draw = Callable[[st.SearchStrategy[Any]], Any]
Charges = list[list[bytes]]
"""The five numbers of each charge of a call, as they are on the wire."""

OWN = 1_000
"""The numbers from here on are each of one key alone; what is put in the place of numbers is none of them."""

ATOMS = [
    *(
        b":-1\r\n",
        b":0\r\n",
        b":1\r\n",
        b":2\r\n",
        b":3\r\n",
        b":9223372036854775807\r\n",
        b":-9223372036854775808\r\n",
    ),
    *(
        b",1.5\r\n",
        b",inf\r\n",
        b",nan\r\n",
        b",-1e300\r\n",
        b"$1\r\n5\r\n",
        b"$0\r\n\r\n",
        b"$-1\r\n",
        b"*-1\r\n",
        b"_\r\n",
    ),
    *(
        b"+5\r\n",
        b"+\r\n",
        b"#t\r\n",
        b"#f\r\n",
        b"(99999999999999999999\r\n",
        b"*0\r\n",
        b"*1\r\n:1\r\n",
        b"%0\r\n",
        b"~0\r\n",
    ),
    *(
        b"*2\r\n*1\r\n:1\r\n$-1\r\n",
        b"=5\r\ntxt:a\r\n",
        b"-ERR inside\r\n",
        b"*1\r\n-MOVED 1 :1\r\n",
        b"%1\r\n+a\r\n:1\r\n",
    ),
]
"""Replies of every kind, whole."""

NO_ANSWERS = [atom for atom in ATOMS if not atom.startswith(b"-")]
"""Replies that no script call has."""

BROKEN = [
    *(
        b"what?\r\n",
        b"\r\n",
        b"\x00",
        b"$-7\r\n",
        b"*-2\r\n",
        b"$999999999999999999\r\n",
        b":1x\r\n",
        b":\r\n",
        b"*1x\r\n",
    ),
    *(
        b"*99999999999999999999\r\n",
        b"$3\r\nabcde",
        b"#x\r\n",
        b",x\r\n",
        b"(x\r\n",
        b"%-1\r\n",
        b"\xff\xfe\r\n",
        b"*1\r\n?\r\n",
    ),
    *(
        b"*1\r\n" * 20,
        b"*1\r\n" * 5_000,
        b"*1000000000\r\n",
        b"$536870912\r\n",
        b"$4294967296\r\n",
        b">1\r\n",
        b"|1\r\n+a\r\n",
    ),
]
"""What is no reply, or only begins as one."""

SAID = [
    *(
        b"WRONGTYPE x",
        b"OOM command not allowed",
        b"READONLY x",
        b"LOADING x",
        b"MASTERDOWN x",
        b"CLUSTERDOWN x",
        b"BUSY x",
    ),
    *(
        b"TRYAGAIN x",
        b"MISCONF x",
        b"NOREPLICAS x",
        b"NOAUTH x",
        b"NOPERM x",
        b"CROSSSLOT x",
        b"ERR \xff\xfe",
        b"",
        b" ",
    ),
    *(b"NOSCRIPT No matching script.", b"NOSCRIPT", b"MOVED", b"ASK 1", b"MOVED x y:z", b"ASKING 1 a:1", b"x" * 70_000),
]
ELSEWHERE = [
    *(
        b"MOVED 1 %b",
        b"ASK 1 %b",
        b"MOVED 99999 %b",
        b"ASK 16384 %b",
        b"MOVED 1 :%c",
        b"MOVED 1 127.0.0.1:1",
        b"ASK 1 ::1:1",
    ),
    *(b"MOVED 1 127.0.0.1:0", b"MOVED 1 127.0.0.1:99999", b"ASK 1 \x00:1", b"MOVED 1 \xc3\xa9\xc3\xa9:1", b"ASK 1 .:1"),
    *(
        b"ASK 1 %b:1",
        b"MOVED 1 [::1]:1",
        b"MOVED 1 " + b"a" * 300 + b":1",
        b"MOVED 1 a..b:1",
        b"ASK 1 /tmp:1",
        b"ASK 1  :1",
    ),
]
"""``%b``: the address of the server that says it, ``%c``: its port."""

GREETINGS = [
    *((b"HELLO", atom) for atom in ATOMS),
    *((b"SCRIPT", atom) for atom in ATOMS),
    *((b"TIME", b"-" + said + b"\r\n") for said in SAID),
    *((b"CLUSTER", atom) for atom in ATOMS),
    *(
        (b"CLUSTER", b"*1\r\n*3\r\n:%d\r\n:%d\r\n*2\r\n$9\r\n127.0.0.1\r\n:%%d\r\n" % slots)
        for slots in [(0, 5), (-1, 5), (5, 0), (16_384, 16_384), (16_383, 16_384), (0, 10**13), (-(10**13), 0)]
    ),
    *(
        (b"CLUSTER", b"*1\r\n*3\r\n:0\r\n:16383\r\n*2\r\n" + address)
        for address in [
            b"$1\r\n\xff\r\n:1\r\n",
            b"$1\r\n\0\r\n:1\r\n",
            b"$9\r\n127.0.0.1\r\n:99999\r\n",
            b"$-1\r\n:%d\r\n",
            b"$9\r\n127.0.0.1\r\n$1\r\nx\r\n",
            b"$9\r\n127.0.0.1\r\n:-1\r\n",
            b"*0\r\n:1\r\n",
            b":1\r\n:1\r\n",
        ]
    ),
]
"""A word of the greeting, and what is said to it; ``%d``: the server's port."""

Reply = tuple[str, Any]
"""A kind of reply, and what it needs to be made."""

replies: st.SearchStrategy[Reply] = mostly(
    st.one_of(
        st.tuples(st.just("error"), st.sampled_from(SAID)),
        st.tuples(st.just("error"), st.sampled_from(ELSEWHERE)),
        st.tuples(st.just("atom"), st.sampled_from(ATOMS)),
        st.tuples(st.just("cell"), st.tuples(st.integers(0, 20), st.sampled_from(ATOMS))),
        st.tuples(st.just("cell"), st.tuples(st.integers(0, 20), st.sampled_from(ATOMS))),
        st.tuples(
            st.just("failed"), st.tuples(st.integers(0, 3), st.sampled_from([b":0\r\n", *ATOMS]), st.sampled_from(SAID))
        ),
        st.tuples(st.just("longer"), st.lists(st.sampled_from(ATOMS), min_size=1, max_size=6)),
        st.tuples(st.just("shorter"), st.integers(1, 6)),
        st.tuples(st.just("counted"), st.sampled_from([-6, -5, -1, 1, 5, 100])),
        st.tuples(st.just("before"), st.sampled_from(NO_ANSWERS)),
        st.tuples(st.just("behind"), st.sampled_from(NO_ANSWERS)),
    ),
    st.one_of(
        st.tuples(st.just("broken"), st.sampled_from(BROKEN)),
        st.tuples(st.just("cut"), st.integers(0, 60)),
        st.tuples(st.just("silent"), st.none()),
        st.tuples(st.just("closed"), st.none()),
    ),
    3,
)
right: st.SearchStrategy[Reply] = st.just(("right", None))
any_reply = st.one_of(right, replies, replies)

CLOSES = ("broken", "cut", "closed")
"""After these the server closes; after silence it stays silent.

An answer too many or too few, with right ones behind it, would be the next call's by all that a client can know.
"""


def answers(words, remaining):
    """Read a script call, and answer each charge with the number that its key has."""
    keys = words[3 : 3 + int(words[2])]
    *_, plan = json.loads(words[-1])
    made: Charges = []
    at = 0
    while at < len(plan):
        count = plan[at + 1]
        for place in plan[at + 2 : at + 2 + 4 * count : 4]:
            made.append([b":%d\r\n" % number for number in (1, remaining(keys[place - 1]), 5, 0, 0)])
        at += 2 + 4 * count
    return made


def array(cells, more=0):
    """Write an array that says that it has so many more items than it has."""
    return b"*%d\r\n%b" % (len(cells) + more, b"".join(cells))


def written(reply, charges, address):
    """Write a reply of this kind to a call with these charges."""
    kind, detail = reply
    cells = [b":1764018900123456\r\n", *(cell for charge in charges for cell in charge)]
    whole = array(cells)
    if kind == "error":
        said = detail.replace(b"%b", address).replace(b"%c", address.rpartition(b":")[2])
        return b"-" + said + b"\r\n"
    if kind == "cell":
        at, atom = detail
        cells[at % len(cells)] = atom
        return array(cells)
    if kind == "failed":
        at, place, said = detail
        first = 1 + 5 * (at % len(charges))
        cells[first : first + 2] = [b":2\r\n", place]
        return array([*cells, b"$%d\r\n%b\r\n" % (len(said), said)])
    made = {
        "right": lambda: whole,
        "atom": lambda: detail,
        "broken": lambda: detail,
        "longer": lambda: array([*cells, *detail]),
        "shorter": lambda: array(cells[:-detail]),
        "counted": lambda: array(cells, max(-len(cells), detail)),
        "before": lambda: detail + whole,
        "behind": lambda: whole + detail,
        "cut": lambda: whole[:detail],
        "silent": lambda: b"",
        "closed": lambda: b"",
    }
    return made[kind]()
