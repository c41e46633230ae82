"""What kind of device a computation is compiled for."""

import jax


def current_platform() -> str:
    """``cpu``, ``gpu`` or ``tpu``: of the current mesh, else of JAX's default devices.

    A mesh's devices may be described only: that is how one compiles ahead of time for another
    machine.
    """
    device = jax.sharding.get_abstract_mesh().abstract_device
    return jax.default_backend() if device is None else device.platform
