"""What of a queue entry would break kombu or Celery later: pure checks, each answers with a reason or None."""

from typing import Any, Final

#: Nesting of an envelope or a body. Python's recursion limit ends a worker that must encode or pickle deeper
#: ones again; a plan needs five levels.
NESTING_MAX: Final = 100

#: Stands for a body that Celery, and not we, will decode.
NOT_DECODED: Final = object()

# Read from such a message, Celery puts nothing or something else there.
_NOT_IN_OLDER: Final = {"chain": None, "headers": None}


def envelope_fault(payload: Any) -> str | None:  # noqa: ANN401 - it is what JSON yields
    """Say why kombu could not deliver, acknowledge or restore this; None where it could."""
    if not isinstance(payload, dict):
        return "not a JSON object"
    properties = payload.get("properties")
    if not isinstance(properties, dict):
        return "properties is not an object"
    tag = properties.get("delivery_tag")
    if isinstance(tag, bool) or not isinstance(tag, str | int | float) or not _encodable(tag):
        return "properties.delivery_tag is not a text or a number"
    info = properties.get("delivery_info")
    if not isinstance(info, dict) or not {"exchange", "routing_key"} <= info.keys():
        return "properties.delivery_info lacks exchange and routing_key"
    if payload.get("headers") and not isinstance(payload["headers"], dict):
        return "headers is not an object"
    return None


def task_fault(headers: dict[str, Any], body: Any) -> str | None:  # noqa: ANN401 - it is what JSON yields
    """Say why Celery would fail on this task message *after* delivery; None where not, or it is no task.

    In the pool, on a timer or behind the pool's semaphore: there the message stays unacknowledged and is run
    again for ever, or a slot of the pool is lost. A failure within the delivery is caught there.
    """
    if "task" not in headers:
        # The older protocol has everything in the body. Without: an answer to a control command, or what
        # Celery reports and discards.
        older = isinstance(body, dict) and "task" in body
        return _request_fault({**body, **headers, **_NOT_IN_OLDER}) if older else None
    if body is NOT_DECODED:
        return _request_fault(headers)
    if isinstance(body, dict) and "args" in body:
        return _request_fault({**body, **headers, **_NOT_IN_OLDER})
    if not isinstance(body, list) or len(body) != 3:  # noqa: PLR2004 - [args, kwargs, embed]
        return "the body is not [args, kwargs, embed]"
    embed = body[2] or {}
    if not isinstance(embed, dict):
        return "the body's third part is not an object"
    if not isinstance(embed.get("delivery_info", {}), dict):
        return "the body replaces delivery_info"
    return _request_fault({**headers, **embed})


def _request_fault(request: dict[str, Any]) -> str | None:
    task_id = request.get("id")
    if not isinstance(task_id, str) or not task_id or not _encodable(task_id):
        # Such a task runs, but no result can be stored for it.
        return "id is not a text"
    if not isinstance(request.get("retries") or 0, int | float) or not isinstance(request.get("headers") or {}, dict):
        # Such a task runs, but cannot be retried: a plan that has to wait would have no outcome.
        return "retries is not a number, or headers within the headers not an object"
    if isinstance(request.get("shadow"), list | dict) and request["shadow"]:
        return "shadow is not a text"
    limits = request.get("timelimit")
    if limits and not (
        isinstance(limits, list) and [not x or isinstance(x, int | float) for x in limits] == [True] * 2
    ):
        return "timelimit is not a pair of numbers"
    stamped = request.get("stamped_headers") or []
    if not isinstance(stamped, list | dict | str) or any(isinstance(name, list | dict) for name in stamped):
        return "stamped_headers is not a list of texts"
    chain = request.get("chain") or []
    if isinstance(chain, dict | str) or (isinstance(chain, list) and not all(map(_is_signature, chain))):
        return "chain is not a list of task signatures"
    if request.get("chord") and not isinstance(request.get("group") or "", str):
        return "group is not a text"
    return None


def _is_signature(step: Any) -> bool:  # noqa: ANN401 - it is what JSON yields
    return isinstance(step, dict) and "task" in step and isinstance(step.get("options"), dict)


def too_deep(text: bytes, value: Any) -> bool:  # noqa: ANN401 - it is what JSON yields
    """Whether `value`, decoded from `text`, is nested deeper than `NESTING_MAX`."""
    if text.count(b"[") + text.count(b"{") <= NESTING_MAX:
        return False
    level = [value]
    for _ in range(NESTING_MAX):
        lists = [
            outer.values() if isinstance(outer, dict) else outer for outer in level if isinstance(outer, list | dict)
        ]
        level = [inner for outer in lists for inner in outer]
    return bool(level)


def _encodable(value: object) -> bool:
    # JSON can spell half of a surrogate pair, which Redis cannot be sent.
    try:
        str(value).encode()
    except UnicodeEncodeError:
        return False
    return True
