"""Benchmarks behind the figures in the documentation. A benchmark does not wait for other jobs on this machine."""

import atexit
import os
import shutil
import tempfile

if "DELIFT_QUEUE" not in os.environ:
    os.environ["DELIFT_QUEUE"] = tempfile.mkdtemp(prefix="delift-queue-")
    atexit.register(shutil.rmtree, os.environ["DELIFT_QUEUE"], ignore_errors=True)
