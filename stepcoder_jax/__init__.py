"""StepCoder in JAX: reinforcement learning for code language models from test execution.

Nothing heavy is imported here: `import stepcoder_jax` must stay cheap enough for `--help`, and a
process that only needs the records or the report must not start JAX.
"""

import os

# The tokenizers are all we take of transformers: that it finds no PyTorch is no news to a user.
os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")

__version__ = "0.1.0"
