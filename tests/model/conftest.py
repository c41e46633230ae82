import pytest
from random_models import TEXTS
from transformers import PreTrainedTokenizerFast

from stepcoder_jax.model.tokenizer import train_tokenizer


@pytest.fixture(scope="session")
def tokenizer() -> PreTrainedTokenizerFast:
    return train_tokenizer(TEXTS, 300)
