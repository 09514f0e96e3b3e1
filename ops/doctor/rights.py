"""What a worker's login must be able to run, as commands with sample arguments; `deploy/redis/users.acl` grants it.

A test compares this list with what a server saw real workers send.
"""

from typing import Final

from tasks.keys import Keys

_PLAN: Final = "doctor"


def gate_commands(keys: Keys) -> tuple[tuple[str, ...], ...]:
    """Sent to the Redis of permits and records, by the gate, the judges, the sweep and inside our scripts."""
    record, permit, timeline = keys.record(_PLAN), keys.permit("governor", _PLAN), keys.timeline(_PLAN)
    granted, ledger = keys.governor_exec("BTCUSDT"), keys.ledger("BTCUSDT")
    return (
        ("PING",),
        ("HELLO", "3"),
        ("INFO",),
        ("TIME",),
        ("CLIENT TRACKING", "ON", "BCAST", "PREFIX", permit),
        ("CLIENT SETINFO", "LIB-NAME", "redis-py"),
        ("SCRIPT LOAD", "return 1"),
        ("EVALSHA", "0" * 40, "1", record),
        ("MULTI",),
        ("EXEC",),
        ("WAIT", "0", "1"),
        ("GET", permit),
        ("SET", keys.kill_switch, "true"),
        ("SETEX", permit, "60", "{}"),
        ("DEL", permit),
        ("EXISTS", permit),
        ("EXPIRE", record, "60"),
        ("PTTL", permit),
        ("TYPE", permit),
        ("STRLEN", permit),
        ("GETRANGE", permit, "0", "1"),
        ("INCR", keys.paper_counter),
        ("HSET", record, "state", "waiting"),
        ("HGET", record, "state"),
        ("HMGET", record, "state"),
        ("HGETALL", record),
        ("HINCRBY", record, "attempts", "1"),
        ("HLEN", record),
        ("HDEL", ledger, "origin"),
        ("ZADD", keys.open, "1", _PLAN),
        ("ZREM", keys.open, _PLAN),
        ("ZCARD", keys.open),
        ("ZCOUNT", granted, "0", "1"),
        ("ZRANGE", keys.open, "0", "0"),
        ("ZRANGEBYSCORE", keys.open, "0", "1"),
        ("ZREMRANGEBYSCORE", granted, "0", "1"),
        ("XADD", timeline, "*", "event", "look"),
        ("XLEN", timeline),
    )


def broker_commands() -> tuple[tuple[str, ...], ...]:
    """Sent by Celery to its broker and result backend."""
    return (
        ("PING",),
        ("HELLO", "3"),
        ("CLIENT SETINFO", "LIB-NAME", "redis-py"),
        ("LPUSH", "execute", "x"),
        ("RPUSH", "execute", "x"),
        ("BRPOP", "execute", "1"),
        ("RPOP", "execute"),
        ("LLEN", "execute"),
        ("SADD", "_kombu.binding.execute", "x"),
        ("SREM", "_kombu.binding.execute", "x"),
        ("SMEMBERS", "_kombu.binding.execute"),
        ("HSET", "unacked", "x", "y"),
        ("HGET", "unacked", "x"),
        ("HDEL", "unacked", "x"),
        ("ZADD", "unacked_index", "1", "x"),
        ("ZREM", "unacked_index", "x"),
        ("ZRANGE", "unacked_index", "1", "0", "BYSCORE", "REV"),
        ("SET", "unacked_mutex", "x", "NX", "EX", "5"),
        ("WATCH", "unacked"),
        ("UNWATCH",),
        ("MULTI",),
        ("EXEC",),
        ("SETEX", "celery-task-meta-x", "60", "{}"),
        ("GET", "celery-task-meta-x"),
        ("MGET", "celery-task-meta-x"),
        ("PUBLISH", "celery-task-meta-x", "{}"),
        ("SUBSCRIBE", "celery-task-meta-x"),
        ("UNSUBSCRIBE", "celery-task-meta-x"),
        ("PSUBSCRIBE", "/0.celery.pidbox"),
        ("PUNSUBSCRIBE", "/0.celery.pidbox"),
    )
