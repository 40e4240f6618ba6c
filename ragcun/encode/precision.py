"""The precision of forward passes: what `auto` means on a device."""

import torch

from ragcun.params import Dtype, Precision


def precision(dtype: Dtype, device: torch.device) -> Precision:
    """The precision that `dtype` asks for: `auto` is bfloat16 where the device computes in it, else float32.

    >>> precision("float32", torch.device("cpu"))
    'float32'
    """
    if dtype != "auto":
        return dtype
    return "bfloat16" if computes_bfloat16(device) else "float32"


def computes_bfloat16(device: torch.device) -> bool:
    """Whether the device has arithmetic for bfloat16; torch emulates it on the others, and takes many times as long.

    >>> computes_bfloat16(torch.device("meta"))
    False
    """
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    capabilities = torch.cpu.get_capabilities() if device.type == "cpu" else {}
    return any(capabilities.get(name, False) for name in ("avx512_bf16", "amx_bf16"))
