"""Time of the elementwise kernels of a layer: launches and traffic."""

from ..catalog.fits import ElementwiseFit
from ..catalog.gpu_entries import GPU
from ..common.arrays import Array

#: Kernels in one layer's `elementwise`: two norms with their residual, RoPE, activation. The cache write is timed with
#: attention (`attention.KV_PASSES`) [1].
ELEMENTWISE_KERNELS = 4


def elementwise_seconds(fit: ElementwiseFit, gpu: GPU, bytes_: Array, kernels: Array = ELEMENTWISE_KERNELS) -> Array:
    """Launches of one layer's elementwise kernels, and the traffic of all of them, `bytes_` [byte], in [s]."""
    return 1e-6 * kernels * fit.launch_us + bytes_ / (fit.bandwidth_fraction * gpu.bandwidth)
