"""Doctor where the broker is RabbitMQ."""

from collections.abc import Iterator

import pytest
from celery import Celery

from ops.doctor import queues
from ops.doctor.finding import Severity
from ops.doctor.run import examine
from tests.doctor.bed import Patient
from tests.doctor.test_deployment_checks import REAL_READERS
from tests.servers import RabbitQueue, node

pytestmark = pytest.mark.long


@pytest.fixture
def rabbit(patient: Patient, monkeypatch: pytest.MonkeyPatch) -> Iterator[RabbitQueue]:
    """A virtual host of the test's own, as the deployment's broker."""
    monkeypatch.setattr(queues, "readers_of", REAL_READERS)
    queue = RabbitQueue(node())
    patient.setting("APPLY_BROKER_URL", queue.url)
    yield queue
    queue.close()


def test_rabbitmq_is_looked_at(patient: Patient, rabbit: RabbitQueue) -> None:
    """Queues that nobody has declared are empty; what waits in one that nobody reads is found; nothing is declared."""
    assert [] == [one for one in examine(patient.facts()) if one.severity == Severity.DANGER]
    assert "no worker runs" == patient.finding("readers").found

    with Celery("producer", broker=rabbit.url, set_as_current=False) as producer:
        for number in range(2):
            producer.send_task("tasks.execute", kwargs={}, task_id=f"p{number}", queue="execute")
    found = patient.finding("readers")

    assert Severity.DANGER == found.severity
    assert found.found.startswith("2 messages wait in queue execute")
    assert 2 == rabbit.ready(), "they are still there"
    assert [] == patient.findings("unacknowledged") + patient.findings("visibility")
