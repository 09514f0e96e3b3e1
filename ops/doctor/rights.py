"""What a worker's login must be able to run, as commands with sample arguments.

`deploy/redis/users.acl` grants its worker these and `USEFUL`; a test has a real worker live with that.
"""

from typing import Final

from tasks.keys import Keys

#: Not demanded of a worker: done without where the server refuses; `permitwait ready` reads a stream.
USEFUL: Final = ("CLIENT SETINFO", "WAITAOF", "XREVRANGE")

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
        ("SCRIPT LOAD", "return 1"),
        ("EVALSHA", "0" * 40, "1", record),
        ("MULTI",),
        ("EXEC",),
        ("SCRIPT EXISTS", "0" * 40),
        ("WAIT", "0", "1"),
        ("SCAN", "0"),
        ("GET", permit),
        ("SET", keys.kill_switch, "true"),
        ("SETEX", permit, "60", "{}"),
        ("DEL", permit),
        ("EXISTS", permit),
        ("EXPIRE", record, "60"),
        ("PEXPIRE", keys.workers, "60"),
        ("PTTL", permit),
        ("TYPE", permit),
        ("STRLEN", permit),
        ("GETRANGE", permit, "0", "1"),
        ("INCR", keys.paper_counter),
        ("HSET", record, "state", "waiting"),
        ("HGET", record, "state"),
        ("HMGET", record, "state"),
        ("HGETALL", record),
        ("HKEYS", record),
        ("HSETNX", keys.stats, "first_ok_ms", "1"),
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
        ("ZREMRANGEBYRANK", keys.workers, "0", "1"),
        ("XADD", timeline, "*", "event", "look"),
        ("XLEN", timeline),
    )


def broker_commands() -> tuple[tuple[str, ...], ...]:
    """Sent by Celery to its broker and result backend."""
    return (
        ("PING",),
        ("HELLO", "3"),
        ("TIME",),
        ("CLIENT TRACKING", "ON"),
        ("EVAL", "return 1", "1", "unacked"),
        ("EVALSHA", "0" * 40, "1", "unacked"),
        ("SCRIPT LOAD", "return 1"),
        ("SCRIPT EXISTS", "0" * 40),
        ("LPUSH", "execute", "x"),
        ("RPUSH", "execute", "x"),
        ("BRPOP", "execute", "1"),
        ("RPOP", "execute"),
        ("LLEN", "execute"),
        ("LINDEX", "execute", "0"),
        ("TYPE", "execute"),
        ("DEL", "celeryev.x"),
        ("EXISTS", "_kombu.binding.execute"),
        ("EXPIRE", "celeryev.x", "60"),
        ("SADD", "_kombu.binding.execute", "x"),
        ("SREM", "_kombu.binding.execute", "x"),
        ("SMEMBERS", "_kombu.binding.execute"),
        ("HSET", "unacked", "x", "y"),
        ("HGET", "unacked", "x"),
        ("HDEL", "unacked", "x"),
        ("HLEN", "unacked"),
        ("ZADD", "unacked_index", "1", "x"),
        ("ZREM", "unacked_index", "x"),
        ("ZCARD", "unacked_index"),
        ("ZRANGEBYSCORE", "_kombu.binding_deadlines", "0", "1"),
        ("ZRANGE", "unacked_index", "1", "0", "BYSCORE", "REV"),
        ("SET", "unacked_mutex", "x", "NX", "EX", "5"),
        ("WATCH", "unacked"),
        ("UNWATCH",),
        ("MULTI",),
        ("EXEC",),
        ("SET", "celery-task-meta-x", "{}"),
        ("SETEX", "celery-task-meta-x", "60", "{}"),
        ("GET", "celery-task-meta-x"),
        ("MGET", "celery-task-meta-x"),
        ("PUBLISH", "celery-task-meta-x", "{}"),
        ("SUBSCRIBE", "celery-task-meta-x"),
        ("UNSUBSCRIBE", "celery-task-meta-x"),
        ("PSUBSCRIBE", "/0.celery.pidbox"),
        ("PSUBSCRIBE", "/0.celeryev/worker.*"),
        ("PUBLISH", "/0.celeryev/task.received", "{}"),
        ("PUNSUBSCRIBE", "/0.celery.pidbox"),
    )
