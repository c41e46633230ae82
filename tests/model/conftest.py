from pathlib import Path

import pytest
from random_models import LOADABLE, TEXTS, random_params
from transformers import PreTrainedTokenizerFast

from stepcoder_jax.model.load import save_model
from stepcoder_jax.model.tokenizer import train_tokenizer


@pytest.fixture(scope="session")
def tokenizer() -> PreTrainedTokenizerFast:
    return train_tokenizer(TEXTS, 300)


@pytest.fixture
def folder(tmp_path: Path, tokenizer: PreTrainedTokenizerFast) -> Path:
    """A Hugging Face folder of the untied model."""
    config = LOADABLE["untied"]
    save_model(tmp_path / "model", config, random_params(config), tokenizer)
    return tmp_path / "model"
