"""Flower's settings; every line that is not Flower's default carries its reason.

Read by `celery -A workers flower` wherever it is started. An option on its command line wins; one that would open it
to others, or let it change anything, stops the start (`workers/dashboard.py`). Names here are Flower's options.
"""

import sys

from tornado.options import options as _given

from tasks.errors import BadSettings as _BadSettings
from tasks.settings import settings_of_process as _settings_of_process
from workers.dashboard import as_shown, logins_of

# Its API starts, revokes and stops tasks for whoever can log in.
read_only = True

# Flower's default is every interface of the machine.
address = _given.address or "127.0.0.1"
# A password on a command line can be read by every user of the machine: it comes from a file, or from
# FLOWER_BASIC_AUTH in the environment.
try:
    basic_auth = logins_of(_settings_of_process().flower_auth_file) or list(_given.basic_auth or ())
except _BadSettings as error:
    sys.exit(f"permitwait: {error}")

# What a person looks for, in 1400 pixels. Not the name, every row is a plan; nor the runtime, which is that of the last
# attempt and not the time that the plan took: that stands in the result. The worker stands on the plan's own page.
tasks_columns = "state,uuid,kwargs,result,received"
format_task = as_shown
# An operator compares with the log, to the millisecond.
natural_time = False

# About 4 kB each.
max_tasks = 10_000
# What happened is kept in Redis and in the log; a file of Flower's would be a second, unprotected copy.
persistent = False
# A worker that was replaced under another name is no news after an hour.
purge_offline_workers = 3600
