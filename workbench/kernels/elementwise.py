"""Time of the elementwise kernels of a layer: launches and traffic."""

from ..catalog.fits import ElementwiseFit
from ..catalog.gpu_entries import GPU
from ..common.arrays import Array

#: Kernels in one layer's `elementwise`: two norms with their residual, RoPE, activation; the cache write see above [1].
ELEMENTWISE_KERNELS = 4


def elementwise_seconds(fit: ElementwiseFit, gpu: GPU, bytes_: Array, kernels: Array = ELEMENTWISE_KERNELS) -> Array:
    """Launches and traffic of one layer's elementwise kernels [s]; bytes_ : of all of them [byte]."""
    return 1e-6 * kernels * fit.launch_us + bytes_ / (fit.bandwidth_fraction * gpu.bandwidth)
