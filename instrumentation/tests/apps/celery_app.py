"""A Celery application over the file system."""

import logging
import os
from pathlib import Path

from celery import Celery
from celery.utils.log import get_task_logger

folder = Path(os.environ["CELERY_FOLDER"])
for name in ("queue", "done"):
    (folder / name).mkdir(parents=True, exist_ok=True)

app = Celery("celery_app", broker="filesystem://")
app.conf.broker_transport_options = {
    "data_folder_in": str(folder / "queue"),
    "data_folder_out": str(folder / "queue"),
    "processed_folder": str(folder / "done"),
    "store_processed": False,
}
log = logging.getLogger("celery_app")
task_log = get_task_logger("celery_app.task")


@app.task
def work(number: int) -> None:
    log.info("plain %d", number)
    log.debug("debug %d", number)
    task_log.info("task %d", number)
