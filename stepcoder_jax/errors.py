"""The errors that a user can mend: commands print their message alone, without a traceback."""

from stepcoder_jax.checkpoint import CheckpointError
from stepcoder_jax.data.problems import ProblemError
from stepcoder_jax.model.load import ModelLoadError
from stepcoder_jax.processes import ProcessError
from stepcoder_jax.report import ReportError
from stepcoder_jax.reward_function import RewardError
from stepcoder_jax.run_dir import RunDirError
from stepcoder_jax.samples_file import SamplesError

INPUT_ERRORS = (
    CheckpointError,
    ModelLoadError,
    ProblemError,
    ProcessError,
    ReportError,
    RewardError,
    RunDirError,
    SamplesError,
)
