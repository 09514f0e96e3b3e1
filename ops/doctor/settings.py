"""Checks of settings that are allowed one by one, and do not fit together."""

from collections.abc import Iterator

from ops.doctor.facts import Facts
from ops.doctor.finding import Said, Severity, check, danger, warning
from tasks.governor import PERMIT_TTL_S


@check(Severity.DANGER)
def permit_life(facts: Facts) -> Iterator[Said]:
    """Do our own permits live longer than the wait, and not longer than the gate accepts?"""
    settings = facts.settings
    lives_ms = {"governor": PERMIT_TTL_S * 1000, "p33": facts.position.permit_ttl * 1000}
    for issuer in settings.issuers:
        life_ms = lives_ms[issuer]
        if life_ms > settings.permit_max_ttl_ms:
            yield danger(
                f"a permit of {issuer} lives {life_ms} ms, and the gate refuses what lives longer than "
                f"APPLY_PERMIT_MAX_TTL_MS={settings.permit_max_ttl_ms}: every plan will end as permit_ttl",
                f"`APPLY_PERMIT_MAX_TTL_MS={life_ms}`",
            )
        if life_ms <= settings.permit_wait_ms:
            yield warning(
                f"a permit of {issuer} lives {life_ms} ms, the wait is {settings.permit_wait_ms} ms: it can expire "
                "while the other one is awaited",
                f"`APPLY_PERMIT_WAIT_MS={life_ms // 2}`"
                + ("" if issuer == "governor" else " or a longer P33_PERMIT_TTL"),
            )


@check(Severity.DANGER)
def governor_limits(facts: Facts) -> Iterator[Said]:
    """Do the Governor's limits let anything pass, and do they stop a runaway producer?"""
    limits = facts.governor
    if "governor" not in facts.settings.issuers:
        return
    for name, value in (
        ("GOV_MAX_EXEC_PER_HOUR", limits.max_exec_per_hour),
        ("GOV_MAX_EXEC_PER_5MIN", limits.max_exec_per_5min),
        ("GOV_MAX_REDUCE_NOTIONAL_PER_DAY_USD", limits.max_reduce_notional_per_day_usd),
    ):
        if not value:
            default = type(limits).model_fields[name.removeprefix("GOV_").lower()].default
            yield danger(f"{name}=0: every plan will be refused", f"`{name}={default}`")
    if limits.max_exec_per_5min > limits.max_exec_per_hour:
        yield warning(
            f"GOV_MAX_EXEC_PER_5MIN={limits.max_exec_per_5min} is above GOV_MAX_EXEC_PER_HOUR="
            f"{limits.max_exec_per_hour}: a burst is never noticed, and never disarms",
            f"`GOV_MAX_EXEC_PER_5MIN={limits.max_exec_per_hour}`",
        )
    if not limits.enable_auto_disarm:
        yield warning(
            "GOV_ENABLE_AUTO_DISARM=false: the Governor never sets the kill switch", "`GOV_ENABLE_AUTO_DISARM=true`"
        )
    elif not limits.disarm_on_burst_breach:
        yield warning(
            "GOV_DISARM_ON_BURST_BREACH=false: a runaway producer is refused, and never stopped",
            "`GOV_DISARM_ON_BURST_BREACH=true`",
        )
