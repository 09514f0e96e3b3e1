"""Checks of the Redis server: will it keep what it acknowledged, take what we write, tell the time we believe in?"""

from collections.abc import Iterator
from typing import Final

from ops.doctor.facts import Facts, Server
from ops.doctor.finding import Said, Severity, check, danger, note, warning
from tasks.settings import FUTURE_TOLERANCE_MS

#: Parts of `maxmemory`, and of `maxclients`, in use.
NEAR: Final = 0.8
FULL: Final = 0.95

#: kombu 5.7 finds the messages of lost workers with ZRANGE … BYSCORE REV, which came with 6.2.
OLDEST: Final = (6, 2)

#: Acknowledgements of the local AOF came with 7.2.
WAITAOF: Final = (7, 2)

#: Clocks of hosts that keep time differ by milliseconds.
SKEW_S: Final = 1.0

_MIB: Final = 1024 * 1024


@check(Severity.DANGER)
def eviction(facts: Facts) -> Iterator[Said]:
    """May the server drop keys when its memory is full? A lost record could let a plan run twice."""
    for server in facts.servers:
        policy = server.info.get("maxmemory_policy", "unknown")
        if policy != "noeviction":
            yield danger(
                f"{server.role}: maxmemory-policy is {policy}: records and messages may be dropped",
                "`CONFIG SET maxmemory-policy noeviction`, and the same line in redis.conf",
            )


@check(Severity.DANGER)
def aof(facts: Facts) -> Iterator[Said]:
    """Does a restart of the server keep what it had acknowledged? Only the append-only file does."""
    for server in facts.servers:
        if not server.info.get("aof_enabled"):
            lost = "records and consumed permits" if server.role == "permits" else "messages"
            bad = danger if server.role == "permits" else warning
            yield bad(
                f"{server.role}: appendonly is off: a restart forgets {lost}",
                "`CONFIG SET appendonly yes`, and the same line in redis.conf",
            )


@check(Severity.DANGER)
def fsync(facts: Facts) -> Iterator[Said]:
    """Is a consumption on disk before its order leaves? A machine that loses power must not forget it."""
    server = facts.permits_server
    if not server.info.get("aof_enabled"):
        return
    policy = server.option("appendfsync")
    fix = "`CONFIG SET appendfsync always`, and the same line in redis.conf"
    if policy == "no":
        yield danger("appendfsync is no: what was acknowledged in the last half minute may be lost", fix)
    waits = bool(facts.settings.consume_acks) and server.version >= WAITAOF
    if policy == "everysec" and not waits:
        bad = danger if facts.money else warning
        yield bad(
            "appendfsync is everysec: a power cut forgets the last second: an order of it would have left unrecorded",
            fix + "; or APPLY_CONSUME_ACKS=1 (each order then waits for the disk, up to a second)",
        )
    if policy == "always" and server.option("no-appendfsync-on-rewrite") == "yes":
        yield warning(
            "no-appendfsync-on-rewrite is yes: while the file is rewritten, nothing is on disk for sure",
            "`CONFIG SET no-appendfsync-on-rewrite no`, and the same line in redis.conf",
        )


@check(Severity.DANGER)
def disk(facts: Facts) -> Iterator[Said]:
    """Did the server's last writes to its disk succeed? A full disk stops all trading."""
    for server in facts.servers:
        for file, status, refuses in (
            ("the AOF", "aof_last_write_status", True),
            ("the AOF's rewrite", "aof_last_bgrewrite_status", False),
            ("the RDB snapshot", "rdb_last_bgsave_status", server.option("stop-writes-on-bgsave-error") != "no"),
        ):
            if server.info.get(status, "ok") != "ok":
                bad = danger if refuses else warning
                yield bad(
                    f"{server.role}: {file} could not be written ({status} is {server.info[status]})"
                    + (": writes are refused, plans end blocked" if refuses else ""),
                    "free the server's disk, see its log, then `BGSAVE` (or BGREWRITEAOF) and look again",
                )


@check(Severity.DANGER)
def memory(facts: Facts) -> Iterator[Said]:
    """Is there room for new plans? A full server refuses every write, and each plan ends blocked."""
    for server in facts.servers:
        used, limit = int(server.info.get("used_memory", 0)), int(server.info.get("maxmemory", 0))
        if not limit:
            machine = int(server.info.get("total_system_memory", 0))
            yield note(
                f"{server.role}: maxmemory is not set: a server that grows is killed instead of refusing",
                f"`CONFIG SET maxmemory {max(machine // 2, 64 * _MIB)}` (half of its machine), also in redis.conf",
            )
        elif used > NEAR * limit:
            bad = danger if used > FULL * limit else warning
            yield bad(
                f"{server.role}: {used / limit:.0%} of maxmemory is in use",
                f"`CONFIG SET maxmemory {(2 * used // _MIB + 1) * _MIB}`, and in redis.conf; or a shorter "
                "APPLY_RECORD_TTL_S",
            )


@check(Severity.DANGER)
def clients(facts: Facts) -> Iterator[Said]:
    """Can another worker still connect?"""
    for server in facts.servers:
        now, most = int(server.info.get("connected_clients", 0)), int(server.info.get("maxclients", 0))
        if most and now > NEAR * most:
            bad = danger if now > FULL * most else warning
            yield bad(
                f"{server.role}: {now} of {most} client connections are taken",
                f"`CONFIG SET maxclients {max(2 * now, 10_000)}`, and in redis.conf",
            )


@check(Severity.DANGER)
def writable(facts: Facts) -> Iterator[Said]:
    """Does the server take writes? A replica, or a master that misses its replicas, takes none."""
    for server in facts.servers:
        if server.info.get("role", "master") != "master":
            yield danger(
                f"{server.role}: the server is a read-only replica of {server.info.get('master_host')}",
                "point the address at the master, or use sentinel://…; to promote this one: `REPLICAOF NO ONE`",
            )
        wanted = int(server.option("min-replicas-to-write") or 0)
        good = int(server.info.get("min_slaves_good_slaves", server.info.get("connected_slaves", 0)))
        if wanted > good:
            yield danger(
                f"{server.role}: min-replicas-to-write is {wanted} and {good} are in step: writes are refused",
                f"start the replicas, or `CONFIG SET min-replicas-to-write {good}`",
            )


@check(Severity.DANGER)
def cluster(facts: Facts) -> Iterator[Said]:
    """Is it one server? In a cluster one plan's keys would be spread over slots, and no script could see all."""
    for server in facts.servers:
        if server.info.get("cluster_enabled"):
            yield danger(
                f"{server.role}: the server is a cluster",
                "use a single server or sentinel://…, `cluster-enabled no`; shard by APPLY_NAMESPACE",
            )


@check(Severity.DANGER)
def server_version(facts: Facts) -> Iterator[Said]:
    """Does the server know every command that we use?"""
    for server in facts.servers:
        if server.version < OLDEST:
            yield danger(
                f"{server.role}: Redis {server.info.get('redis_version')} is older than 6.2",
                "use Redis 7.2 or newer, or Valkey",
            )
    if facts.settings.consume_acks and OLDEST <= facts.permits_server.version < WAITAOF:
        yield warning(
            f"Redis {facts.permits_server.info.get('redis_version')} cannot acknowledge its AOF: only replicas count "
            "for APPLY_CONSUME_ACKS",
            "use Redis 7.2 or newer, or Valkey",
        )


@check(Severity.DANGER)
def acknowledgements(facts: Facts) -> Iterator[Said]:
    """Can APPLY_CONSUME_ACKS be met? Where it cannot, every plan ends as `not_durable`."""
    server, wanted = facts.permits_server, facts.settings.consume_acks
    replicas, local = int(server.info.get("connected_slaves", 0)), _local_ack(server)
    if wanted > replicas + local:
        yield danger(
            f"APPLY_CONSUME_ACKS={wanted}, and there are {replicas} replicas and {local} AOF to acknowledge: every "
            "plan will end as not_durable",
            f"`APPLY_CONSUME_ACKS={replicas + local}`, or start replicas",
        )
    if not wanted and replicas:
        bad = danger if facts.money else warning
        yield bad(
            f"{replicas} replicas and APPLY_CONSUME_ACKS=0: a failover can forget the last writes: an order of them "
            "would have left unrecorded",
            f"`APPLY_CONSUME_ACKS={1 + local}`",
        )


def _local_ack(server: Server) -> int:
    return int(bool(server.info.get("aof_enabled")) and server.version >= WAITAOF)


@check(Severity.DANGER)
def clock(facts: Facts) -> Iterator[Said]:
    """Do this machine and the server agree on the time? Plans state when they were made, messages when they return."""
    for server in facts.servers:
        if abs(server.offset_s) > SKEW_S:
            bad = danger if abs(server.offset_s) * 1000 >= FUTURE_TOLERANCE_MS else warning
            ahead = "ahead of" if server.offset_s > 0 else "behind"
            yield bad(
                f"this machine is {abs(server.offset_s):.1f} s {ahead} the {server.role} server",
                "`timedatectl set-ntp true` on both machines",
            )
