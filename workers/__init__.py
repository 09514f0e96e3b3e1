"""What runs: the Celery application and everything that lives in a worker process."""
