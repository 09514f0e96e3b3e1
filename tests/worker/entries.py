"""Entries of a Redis queue, good, odd and junk, as kombu or a careless hand writes them."""

import base64
import json
from copy import deepcopy
from functools import reduce
from itertools import count
from operator import getitem
from typing import Any

TASK = "tasks.echo"
#: In the place of a value: the part is not there.
ABSENT = type("Absent", (), {"__repr__": lambda _: "absent"})()

#: What kombu cannot deliver without.
MINIMAL: dict[str, Any] = {
    "delivery_tag": "1",
    "delivery_info": {"exchange": "", "routing_key": "execute"},
    "body_encoding": "base64",
}

_numbers = count(1)


def encoded(body: Any) -> str:
    """A body as kombu writes it; bytes stand for themselves."""
    return base64.b64encode(body if isinstance(body, bytes) else json.dumps(body).encode()).decode()


def message(content: Any = (["x"], {}, {}), **changes: Any) -> dict[str, Any]:
    """A task message as kombu writes it; `changes` name parts by their path, `__` between the steps."""
    task_id = f"id-{next(_numbers)}"
    whole: dict[str, Any] = {
        "body": encoded(content),
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "headers": {"lang": "py", "task": TASK, "id": task_id, "root_id": task_id},
        "properties": deepcopy(MINIMAL) | {"correlation_id": task_id, "delivery_tag": f"tag-{task_id}", "priority": 0},
    }
    for path, value in changes.items():
        *steps, last = path.replace("content_", "content-").split("__")
        part = reduce(getitem, steps, whole)
        part[last] = value
        if value is ABSENT:
            del part[last]
    return whole


def older(**content: Any) -> dict[str, Any]:
    """A message of Celery's protocol 1: everything is in the body."""
    return message({"task": TASK, "id": f"id-{next(_numbers)}"} | content, headers={})


def raw(entry: dict[str, Any] | bytes) -> bytes:
    """An entry as the bytes in the list."""
    return entry if isinstance(entry, bytes) else json.dumps(entry).encode()


BAD_PARTS: dict[str, list[Any]] = {
    "properties": [ABSENT, None, 5, "x", [1], {}],
    "headers": [5, "x", [1]],
    "body": [ABSENT, None, 5, [1], {"a": 1}, "abc"],
    "content_type": [ABSENT, [1]],
    "content_encoding": [5],
    "properties__body_encoding": [5, "rot13"],
    "properties__delivery_tag": [ABSENT, None, True, [], "\ud800"],
    "properties__delivery_info": [ABSENT, None, 5, "x", [], {}],
    "headers__task": [[1], {"a": 1}],
    "headers__id": [ABSENT, None, 5, "", [], {"a": 1}, "\ud800"],
    "headers__timelimit": [5, [5], ["x", "y"], {"a": 1, "b": 2}],
    "headers__retries": ["x", [1]],
    "headers__headers": ["x", 5],
    "headers__shadow": [[1], {"a": 1}],
    "headers__stamped_headers": [5, [[1]]],
    "headers__eta": [[], {}],
    "headers__expires": [[], {}],
    "headers__more": [json.loads("[" * 150 + "]" * 150)],
}

BAD_CONTENTS: list[Any] = [
    *(b"not json", b"\xff\xfe", b"[[" + b"[" * 900 + b"]" * 900 + b"],{},{}]"),
    *(None, 5, "abc", [], [1], [[], {}], {}, {"a": 1}),
    *([[], {}, embedded] for embedded in (5, [1], "ab", {"id": 5}, {"delivery_info": 5})),
    *([[], {}, {"chain": "x"}], [[], {}, {"chain": {"a": 1}}]),
    *([[], {}, {"chain": [step]}] for step in (5, {}, {"task": TASK})),
    [[], {}, {"chord": {"task": TASK}, "group": [1]}],
]

#: What a stock worker dies of, reconnects on (for ever, where it stays in the queue), or never acknowledges.
JUNK: dict[str, dict[str, Any] | bytes] = {
    "garbage": b"garbage",
    "empty": b"",
    "not UTF-8": b"\xff\xfe\x00\x80",
    "UTF-16": json.dumps(message()).encode("utf-16"),
    "half a message": raw(message())[:-20],
    "two messages": raw(message()) * 2,
    **{f"JSON {text!r}": text for text in (b"[]", b"123", b'"x"', b"null", b"NaN", b"{}")},
    "deep lists": b"[" * 100_000 + b"]" * 100_000,
    "deep objects": b'{"a":' * 5_000 + b"1" + b"}" * 5_000,
    "a megabyte": b"A" * 1_000_000,
    "a megabyte in an object": raw({"junk": "A" * 1_000_000}),
    "unknown typed value": b'{"__type__": "a\\nb", "__value__": 1}',
    "wrong typed value": b'{"__type__": "bytes", "__value__": 1}',
    "number of 10000 digits": b"1" * 10_000,
    **{f"{p} {v!r:.20}": message(**{p: v}) for p, values in BAD_PARTS.items() for v in values},
    **{f"content {content!r:.20}": message(content) for content in BAD_CONTENTS},
    "unknown task, id 7": message(headers__task="nope", headers__id=7),
    "older, no id": older(id=None),
    "older, unknown task, no id": message({"task": "nope"}, headers={}),
    "older, timelimit 5": older(timelimit=5),
}

#: Delivered; Celery refuses them by itself, with a line that holds this.
REFUSED = {
    "no task": (message(headers__task=ABSENT), "unknown message"),
    "no headers": (message(headers=ABSENT), "unknown message"),
    "unknown task": (message(headers__task="tasks.nope"), "unregistered task of type 'tasks.nope'"),
    "pickle": (message(content_type="application/x-python-serialize"), "ContentDisallowed"),
    "yaml": (message(content_type="application/x-yaml"), "ContentDisallowed"),
    "eta": (message(headers__eta="tomorrow"), "invalid ETA value 'tomorrow'"),
    "expires": (message(headers__expires=5), "invalid expires value 5"),
    "compression": (message(headers__compression="zlib"), "incorrect header check"),
}

#: Odd, and run by a stock worker.
RUNS = {
    "any client": message(),
    "a minimal producer": message(content_encoding=ABSENT, headers={"task": TASK, "id": "minimal"}, properties=MINIMAL),
    "protocol 1": older(args=["x"], kwargs={}),
    "protocol 1 without headers": older() | {"headers": None},
    "hybrid": message({"args": ["x"], "kwargs": {}}),
    "plain body": message(properties__body_encoding="utf-8") | {"body": '[["x"],{},null]'},
    "number as tag": message(properties__delivery_tag=5),
    "unbound exchange": message(properties__delivery_info={"exchange": "nowhere", "routing_key": []}),
    "infinite priority": message(properties__priority=float("inf")),
    "priority a list": message(properties__priority=[1]),
    "retries null": message(headers__retries=None),
    "NaN argument": message(b"[[NaN],{},{}]"),
    "names null": message(headers__shadow=None, headers__timelimit=[None, None], headers__stamped_headers=None),
    "callbacks a number": message([[], {}, {"callbacks": 5}]),
    "a megabyte": message([["A" * 1_000_000], {}, {}]),
}

BROADCASTS = {
    "a list": b"[]",
    "null": b"null",
    "no properties": b"{}",
    "deep": b"[" * 100_000,
    "headers 5": raw(message(headers=5)),
    "body not base64": raw(message() | {"body": "abc"}),
    "tag a list": raw(message(properties__delivery_tag=[], content_type="text/nothing")),
    "an event without a name": raw(message({"type": 5}, headers={})),
    "broken bz2": raw(message(headers={"compression": "application/x-bz2"})),
}
