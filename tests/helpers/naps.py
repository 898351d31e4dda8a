"""Work for other processes that lasts, without anything to import first."""

import time


def nap(sent, job):
    time.sleep(60)
