"""Checks of who may reach the server, over which way, and whether our own programs may do what they must."""

from collections.abc import Iterator
from ipaddress import ip_address

from ops.doctor.facts import Facts, Server
from ops.doctor.finding import Said, Severity, check, danger, note, warning

_USERS = "deploy/redis/users.acl"
_OTHERS = 0o077
_EVERYWHERE = {"", "*", "0.0.0.0", "::", "::*"}  # noqa: S104 - it is what we look for


@check(Severity.DANGER)
def visible(facts: Facts) -> Iterator[Said]:
    """May this login see what there is to check? What was not looked at is not known to be safe."""
    for server in facts.servers:
        if server.blind_to:
            yield danger(
                f"{server.role}: user {server.user} may not run {', '.join(server.blind_to)}: what they show is "
                "not known",
                f"run doctor as the operator of {_USERS}; on a managed server: `--accept visible`",
            )


@check(Severity.DANGER)
def login(facts: Facts) -> Iterator[Said]:
    """Does the server ask for a login? Whoever can write a permit can make an order."""
    for server in facts.servers:
        if not server.open_to_all:
            continue
        fix = f"give every program a login ({_USERS}), then `ACL SETUSER default off`"
        ports = [port for name in ("port", "tls-port") if (port := server.option(name)) not in {None, "0"}]
        if server.config is None:
            yield warning(f"{server.role}: whoever reaches the server is let in without a login", fix)
        elif not ports:
            if int(server.option("unixsocketperm") or "0", 8) & _OTHERS:
                yield warning(
                    f"{server.role}: every user of its machine is let in through the socket",
                    f"`unixsocketperm 700` (or 770 and a group) in redis.conf; or {fix}",
                )
        elif _loopback_only(server):
            yield warning(f"{server.role}: every user of its machine is let in on port {ports[0]}", fix)
        elif server.option("protected-mode") == "yes":
            yield warning(
                f"{server.role}: only protected mode keeps other machines out; every user of its machine is let in", fix
            )
        else:
            yield danger(
                f"{server.role}: whoever reaches port {ports[0]} is let in without a login, and can write permits", fix
            )


@check(Severity.WARNING)
def listening(facts: Facts) -> Iterator[Said]:
    """Does the server listen only where workers are?"""
    for server in facts.servers:
        everywhere = _EVERYWHERE & {part.lstrip("-") for part in _binds(server)}
        if _has_port(server) and everywhere and server.option("protected-mode") == "no":
            yield warning(
                f"{server.role}: listens on every interface with protected mode off: passwords are all there is",
                "`CONFIG SET protected-mode yes`, and in redis.conf `bind` with the addresses that workers use",
            )


@check(Severity.DANGER)
def encryption(facts: Facts) -> Iterator[Said]:
    """Are permits, plans and passwords encrypted wherever they leave this machine?"""
    for address in facts.addresses:
        far = {"private": "over the network", "public": "over the Internet", "unresolved": "to another machine"}
        if address.reach == "local":
            continue
        bad = danger if address.reach == "public" else warning
        if not address.encrypted:
            yield bad(
                f"{address.setting} ({address.shown}) goes {far[address.reach]} in clear: permits can be read and "
                "changed on the way",
                "`rediss://…` (`amqps://…` for RabbitMQ), with tls-port on the server; or a Unix socket",
            )
        elif not address.verified:
            yield bad(
                f"{address.setting} ({address.shown}) accepts any certificate: anybody on the way can pose "
                "as the server",
                "drop `ssl_cert_reqs=none` from the address",
            )


@check(Severity.DANGER)
def permissions(facts: Facts) -> Iterator[Said]:
    """May the workers' login run every command that they send?"""
    for server in facts.servers:
        if server.refused is None:
            yield note(
                f"{server.role}: whether the workers may run all their commands cannot be asked (ACL DRYRUN)",
                "use Redis 7 or newer, or Valkey; as the operator of " + _USERS,
            )
            continue
        for user, commands in server.refused.items():
            if commands:
                granted = " ".join(f"+{name.lower().replace(' ', '|')}" for name in commands)
                yield danger(
                    f"{server.role}: user {user} may not run {', '.join(commands)} on our keys",
                    f"`ACL SETUSER {user} {granted} {_patterns(facts)}`, then ACL SAVE; all at once: {_USERS}",
                )


@check(Severity.WARNING)
def tracking(facts: Facts) -> Iterator[Said]:
    """Does the server push changed keys? Without, a waiting plan is looked at once per APPLY_PERMIT_STEP_MS."""
    server = facts.permits_server
    if server.tracking_error:
        yield warning(
            f"CLIENT TRACKING is refused ({server.tracking_error}): permits are found by looking, "
            f"{facts.settings.permit_step_ms} ms late at worst",
            f"`ACL SETUSER {server.user} +client|tracking`; not through a proxy that drops RESP3",
        )


def _patterns(facts: Facts) -> str:
    broker = "~_kombu.* ~unacked* ~execute* ~governor* ~position* ~celeryev.* ~*.celery.pidbox*"
    return f"~{facts.settings.namespace}:* ~celery-task-meta-* {broker} &*"


def _binds(server: Server) -> list[str]:
    bind = server.option("bind")
    return [] if bind is None else bind.split() or [""]


def _has_port(server: Server) -> bool:
    return any(server.option(name) not in {None, "0"} for name in ("port", "tls-port"))


def _loopback_only(server: Server) -> bool:
    binds = _binds(server)
    return bool(binds) and all(_is_loopback(part.lstrip("-")) for part in binds)


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
