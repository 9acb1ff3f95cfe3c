"""Names the machine that a benchmark ran on."""

import os
import platform
from pathlib import Path

import psutil
import torch


def machine() -> str:
    """Processor, cores, memory and versions on one line."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    flags = next((line for line in lines if line.startswith("flags")), "")
    vector = next((name for name in ("avx512f", "avx2", "avx") if name in flags), "no vector flags")
    memory = psutil.virtual_memory().total / (1 << 30)
    gpu = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    return (
        f"{names[0] if names else platform.processor()} ({vector}), {os.cpu_count()} cores, {memory:.0f} GiB{gpu}; "
        f"Python {platform.python_version()}, torch {torch.__version__}"
    )
