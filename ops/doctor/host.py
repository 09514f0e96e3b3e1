"""Checks of this machine: how programs run here, and what they show to others."""

from collections.abc import Iterator

from ops.doctor.facts import Facts
from ops.doctor.finding import Said, Severity, check, danger, warning


@check(Severity.WARNING)
def parser(facts: Facts) -> Iterator[Said]:
    """Are answers read by the parser in C? The one in Python needs a third more CPU per plan."""
    if not facts.host.hiredis:
        yield warning("redis-py does not use hiredis here", "`pip install 'hiredis>=3.3'`")


@check(Severity.WARNING)
def root(facts: Facts) -> Iterator[Said]:
    """Does everything run as a user that owns nothing else?"""
    named = [life.hostname for life in facts.state.lives if life.root == "yes"]
    if named or facts.host.root:
        who = f"workers run as root: {', '.join(named)}" if named else "this command runs as root"
        yield warning(f"{who}; nothing of ours needs any rights", "`User=permitwait` (deploy/systemd)")


@check(Severity.DANGER)
def env_file(facts: Facts) -> Iterator[Said]:
    """Can only we read the file with the passwords?"""
    if facts.host.readable_env:
        yield danger(
            f"{facts.host.readable_env} holds a password, and other users of this machine may read it",
            f"`chmod 600 {facts.host.readable_env}`",
        )


@check(Severity.DANGER)
def flower(facts: Facts) -> Iterator[Said]:
    """Does Flower ask for a login? Whoever is let in can send plans and stop workers."""
    host = facts.host
    fix = "`celery -A workers flower` with APPLY_FLOWER_AUTH_FILE (docs/flower.md): ours never runs without a login"
    if "tasks" in host.flower:
        yield danger(f"Flower at {host.flower_url} lets anybody send tasks and read plans", fix)
    elif "pages" in host.flower:
        yield warning(f"Flower at {host.flower_url} shows every plan to anybody who reaches it", fix)
