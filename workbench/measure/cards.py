"""What a card can do, and what its driver says of it."""

import shutil
import subprocess
from typing import Any


def supported_formats(torch: Any, card: Any) -> dict[str, Any]:
    """PyTorch's types of the formats that a card has matrix products in; before Ampere, also no FlashAttention."""
    found = {"fp16": torch.float16}
    capability = (card.major, card.minor)
    if torch.version.hip or capability >= (8, 0):
        found["bf16"] = torch.bfloat16
    if torch.version.hip and card.gcnArchName.startswith("gfx94"):  # MI300
        found["fp8"] = torch.float8_e4m3fnuz
    elif card.gcnArchName.startswith("gfx95") if torch.version.hip else capability >= (8, 9):
        found["fp8"] = torch.float8_e4m3fn
    return found


def driver_and_clocks(number: int) -> str:
    """Driver, clocks and power limit of an NVIDIA GPU, or why they are unknown."""
    fields = "driver_version,clocks.sm,clocks.max.sm,clocks.mem,power.limit,temperature.gpu"
    if not (program := shutil.which("nvidia-smi")):
        return "unknown (no nvidia-smi)"
    asked = [program, f"--query-gpu={fields}", "--format=csv,noheader", "-i", str(number)]
    try:
        answer = subprocess.run(asked, capture_output=True, text=True, timeout=20, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError) as error:
        return f"unknown ({type(error).__name__})"
    return f"{fields} = {answer}"
