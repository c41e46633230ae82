"""Weights out and in again: one file or shards, exact or rounded once; what an index may say."""

import json
from pathlib import Path

import jax
import numpy as np
import pytest
from random_models import LOADABLE, random_params
from safetensors.numpy import load_file, save_file
from torch_goldens import CASES, GOLDENS

from stepcoder_jax.model.load import load_model, read_config, save_model
from stepcoder_jax.model.safetensors_folder import SafetensorsFolder, write_safetensors
from stepcoder_jax.model.source import read_params
from stepcoder_jax.model.tokenizer import Tokenizer
from stepcoder_jax.model.weights import ModelLoadError

INDEX = "model.safetensors.index.json"


def test_shards_hold_the_same_as_one_file(tmp_path: Path, tokenizer: Tokenizer) -> None:
    config = LOADABLE["untied"]
    params = random_params(config)
    save_model(tmp_path / "one", config, params, tokenizer)
    save_model(tmp_path / "many", config, params, tokenizer, shard_bytes=20_000)
    one = load_file(tmp_path / "one" / "model.safetensors")
    files = sorted((tmp_path / "many").glob("*.safetensors"))
    count = len(files)
    assert [file.name for file in files] == [
        f"model-{number:05}-of-{count:05}.safetensors" for number in range(1, count + 1)
    ]
    many = {name: tensor for file in files for name, tensor in load_file(file).items()}
    assert many.keys() == one.keys()
    assert all(many[name].tobytes() == one[name].tobytes() for name in one)
    # The embedding and the head, of 300 × 16 floats of 4 bytes, do not share a file.
    assert all(sum(x.nbytes for x in load_file(file).values()) <= 20_000 for file in files)
    index = json.loads((tmp_path / "many" / INDEX).read_text())
    assert index["metadata"]["total_size"] == sum(tensor.nbytes for tensor in one.values())
    assert index["weight_map"] == {name: file.name for file in files for name in load_file(file)}
    loaded = load_model(tmp_path / "many")
    jax.tree.map(np.testing.assert_array_equal, loaded.params, params)


def test_a_tensor_above_the_limit_has_a_file_of_its_own(
    tmp_path: Path, tokenizer: Tokenizer
) -> None:
    config = LOADABLE["tied"]
    save_model(tmp_path, config, random_params(config), tokenizer, shard_bytes=1)
    files = list(tmp_path.glob("*.safetensors"))
    assert [len(load_file(file)) for file in files] == [1] * (1 + 1 + 9 * config.num_layers)


def test_what_was_written_before_is_gone(tmp_path: Path, tokenizer: Tokenizer) -> None:
    config = LOADABLE["untied"]
    for seed, shard_bytes in ((0, 20_000), (1, 40_000), (2, 10**9), (3, 20_000)):
        params = random_params(config, seed)
        save_model(tmp_path, config, params, tokenizer, shard_bytes=shard_bytes)
        jax.tree.map(np.testing.assert_array_equal, load_model(tmp_path).params, params)
        held = SafetensorsFolder(tmp_path).tensors.values()
        assert {tensor.file for tensor in held} == set(tmp_path.glob("*.safetensors"))


def test_bfloat16_is_rounded_once_and_said_in_the_config(
    tmp_path: Path, tokenizer: Tokenizer
) -> None:
    config = LOADABLE["bias"]
    params = random_params(config)
    save_model(tmp_path / "once", config, params, tokenizer, dtype="bfloat16")
    assert json.loads((tmp_path / "once" / "config.json").read_text())["torch_dtype"] == "bfloat16"
    once = load_model(tmp_path / "once")
    jax.tree.map(
        lambda x, y: np.testing.assert_array_equal(x, y.astype("bfloat16").astype("float32")),
        once.params,
        params,
    )
    save_model(tmp_path / "twice", config, once.params, tokenizer, dtype="bfloat16")
    once_bytes, twice_bytes = (
        (tmp_path / name / "model.safetensors").read_bytes() for name in ("once", "twice")
    )
    assert once_bytes == twice_bytes


@pytest.mark.parametrize("case", CASES)
def test_a_model_of_torch_comes_out_as_it_came_in(case: str, tmp_path: Path) -> None:
    folder = GOLDENS / "torch" / case
    config = read_config(folder / "config.json")
    params = read_params(config, SafetensorsFolder(folder))
    write_safetensors(tmp_path, config, params, dtype="bfloat16")
    theirs = load_file(folder / "model.safetensors")
    ours = load_file(tmp_path / "model.safetensors")
    assert ours.keys() == theirs.keys()
    for name in theirs:
        assert ours[name].dtype == theirs[name].dtype
        assert ours[name].shape == theirs[name].shape
        assert ours[name].tobytes() == theirs[name].tobytes()
    write_safetensors(tmp_path, config, params)
    again = read_params(config, SafetensorsFolder(tmp_path))
    jax.tree.map(np.testing.assert_array_equal, again, params)


def shard(folder: Path) -> dict[str, str]:
    """Split the weights of ``folder`` into a and b by hand, and return the index's map."""
    tensors = load_file(folder / "model.safetensors")
    names = sorted(tensors)
    shards = {"a.safetensors": names[::2], "b.safetensors": names[1::2]}
    for file, members in shards.items():
        save_file({name: tensors[name] for name in members}, folder / file)
    weight_map = {name: file for file, members in shards.items() for name in members}
    (folder / INDEX).write_text(json.dumps({"weight_map": weight_map}))
    (folder / "model.safetensors").unlink()
    return weight_map


def test_an_index_that_does_not_tell_what_is_there_is_refused(folder: Path) -> None:
    whole = load_model(folder)
    weight_map = shard(folder)
    jax.tree.map(np.testing.assert_array_equal, load_model(folder).params, whole.params)
    wrong = weight_map | {"model.norm.weight": "b.safetensors"}
    assert weight_map != wrong
    for content, message in [
        ("{", r"index\.json: not JSON"),
        ("[]", r"index\.json: has no weight_map"),
        ('{"weight_map": {"model.norm.weight": 3}}', r"index\.json: has no weight_map"),
        (
            json.dumps({"weight_map": wrong}),
            r"b\.safetensors: lacks tensor 'model\.norm\.weight', which model\.safetensors\.index",
        ),
    ]:
        (folder / INDEX).write_text(content)
        with pytest.raises(ModelLoadError, match=message):
            load_model(folder)
    (folder / INDEX).write_text(json.dumps({"weight_map": weight_map}))
    (folder / "b.safetensors").unlink()
    in_b = next(name for name, file in weight_map.items() if file == "b.safetensors")
    with pytest.raises(
        ModelLoadError, match=rf"index\.json: tensor '{in_b}' should be in b\.safetensors, which is"
    ):
        load_model(folder)


def test_a_tensor_in_two_files_is_refused(folder: Path) -> None:
    shard(folder)
    (folder / INDEX).unlink()
    (folder / "c.safetensors").write_bytes((folder / "b.safetensors").read_bytes())
    with pytest.raises(
        ModelLoadError, match=r"c\.safetensors: tensor '.*' is in b\.safetensors too"
    ):
        load_model(folder)
