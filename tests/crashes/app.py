"""Our application with failures at named points: `celery -A tests.crashes.app worker`. For tests only.

It wraps the product's own functions from outside; without the variables of `tests.crashes.points` it changes nothing.
"""

import os
from importlib import import_module

from tests.crashes.clock import shift

# Before anything is imported that might keep a reference to the clock.
shift()

from tests.crashes import points  # noqa: E402 - see above
from tests.crashes.wrapping import install  # noqa: E402 - see above
from workers.celery import app  # noqa: E402 - see above

if "VENUE_SOCKET" in os.environ:
    import_module("tests.venue.app")  # puts the test venue into the same application
if os.environ.get(points.VISIBILITY):
    app.conf.broker_transport_options["visibility_timeout"] = float(os.environ[points.VISIBILITY])
install()

__all__ = ["app"]
