"""The Celery application: `celery -A workers worker`. Importing it reads the settings and opens nothing."""

import sys

from celery import Celery

from tasks.errors import BadSettings
from tasks.settings import settings_of_process

try:
    settings_of_process()
except BadSettings as error:
    # One line instead of a traceback: this is read by the person who just mistyped a setting.
    sys.exit(f"permitwait: {error}")

app = Celery("permitwait")
app.config_from_object("celeryconfig")

from workers import bootstrap  # noqa: E402 - its handlers belong to the app above

bootstrap.install(app)
