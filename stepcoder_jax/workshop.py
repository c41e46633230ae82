"""What the commands share: the model on its mesh, and the samplers."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import jax
from stepcoder_executor import Executor

from stepcoder_jax.config import ConfigError, EvalConfig, RunConfig, SamplingConfig
from stepcoder_jax.data.prompts import PromptBuilder
from stepcoder_jax.data.sources import load_problems
from stepcoder_jax.executor_session import executor as executor
from stepcoder_jax.limits import LimitRule
from stepcoder_jax.model.critic import Critic
from stepcoder_jax.model.decoder import Decoder
from stepcoder_jax.model.few_rows import ChosenProducts, choose_products
from stepcoder_jax.model.init import critic_logical_axes, logical_axes
from stepcoder_jax.model.load import LoadedModel
from stepcoder_jax.model.lora import adapter_axes, critic_adapter_axes
from stepcoder_jax.model.product import held_dtype
from stepcoder_jax.model.token_bytes import token_bytes
from stepcoder_jax.placement import replicate, shard_params
from stepcoder_jax.program import TokenBytes
from stepcoder_jax.sampling.decode import DecodeSettings
from stepcoder_jax.sampling.generate import Sampler
from stepcoder_jax.sharding import Mesh, make_mesh
from stepcoder_jax.starting_model import make_critic, make_decoder
from stepcoder_jax.types import Params, Problem
from stepcoder_jax.worker import Worker


@dataclass(frozen=True, kw_only=True)
class Workshop:
    """A model made ready to be sampled and trained under one recipe."""

    config: RunConfig
    model: LoadedModel
    decoder: Decoder
    critic: Critic
    builder: PromptBuilder
    token_bytes: TokenBytes
    mesh: Mesh
    products: ChosenProducts

    @classmethod
    def of(cls, config: RunConfig, model: LoadedModel) -> "Workshop":
        """Builds it; the model's parameters are placed on the mesh by ``place_policy``."""
        return cls(
            config=config,
            model=model,
            decoder=make_decoder(config.model, model.config),
            critic=make_critic(config.model, model.config),
            builder=PromptBuilder(
                tokenizer=model.tokenizer, config=config.prompt, shots=_shots(config)
            ),
            token_bytes=token_bytes(model.tokenizer),
            mesh=make_mesh(config.mesh),
            products=choose_products(
                config.sampling.products,
                rows=config.sampling.slots,
                inputs=model.config.hidden_size,
                dtype=held_dtype(config.model.dtype),
            ),
        )

    @property
    def pad_token(self) -> int:
        """Id that fills rows up; never inside a mask."""
        tokenizer = self.model.tokenizer
        return tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id

    @property
    def remarks(self) -> list[str]:
        """What is said beforehand."""
        found = [self._long_rows_caution(), self.products.remark]
        return [remark for remark in found if remark is not None]

    def _long_rows_caution(self) -> str | None:
        longest, most = self.config.longest_row, self.model.config.max_position_embeddings
        if longest <= most:
            return None
        return (
            f"CAUTION: prompt and response can have {longest} tokens (rollout.prompt_buckets,"
            f" data.max_prompt_tokens, sampling.max_new_tokens), and the model was made for {most}"
            " (max_position_embeddings): expect worse answers beyond"
        )

    def place_policy(self, params: Any) -> Params:
        """Policy parameters on the mesh."""
        return shard_params(params, logical_axes(self.model.config), self.mesh)

    def place_adapters(self, adapters: Any) -> Params:
        """A policy's adapters on the mesh."""
        axes = adapter_axes(self.model.config, self.config.lora)
        return shard_params(adapters, axes, self.mesh)

    def place_critic(self, params: Any) -> Params:
        """What is trained of the critic, on the mesh."""
        model, lora = self.model.config, self.config.lora
        axes = critic_adapter_axes(model, lora) if lora.rank else critic_logical_axes(model)
        return shard_params(params, {name: axes[name] for name in params}, self.mesh)

    def worker(
        self,
        client: Executor,
        check: Callable[[], None],
        draws: SamplingConfig | EvalConfig,
        *,
        reference_s: Mapping[str, float] = MappingProxyType({}),
    ) -> Worker:
        """A worker that draws tokens as training or evaluation does; ``LimitRule`` on the last."""
        sampling = self.config.sampling
        return Worker(
            sampler=Sampler(
                decoder=self.decoder,
                settings=DecodeSettings(
                    temperature=draws.temperature,
                    top_p=draws.top_p,
                    top_k=draws.top_k,
                    end_token=self.model.tokenizer.eos_token_id,
                    pad_token=self.pad_token,
                    max_new_tokens=sampling.max_new_tokens,
                ),
                token_bytes=self.token_bytes,
                prompt_buckets=self.config.rollout.prompt_buckets,
                slots=sampling.slots,
                prefill_prompts=sampling.prefill_prompts,
                chunk_tokens=sampling.chunk_tokens,
                products=self.products.products,
                stop=self.config.prompt.stop,
                place=lambda tree: replicate(tree, self.mesh),
            ),
            client=client,
            limits=LimitRule(settings=self.config.executor, reference_s=reference_s),
            check=check,
            fence=self.builder.fence,
        )


def _shots(config: RunConfig) -> tuple[Problem, ...]:
    """The solved tasks that prompts show."""
    if not config.prompt.shots:
        return ()
    data = config.data
    problems = load_problems("mbpp:prompt", manual_dir=data.manual_dir, data_dir=data.data_dir)
    known = {p.id: p for p in problems}
    unknown = [name for name in config.prompt.shots if name not in known]
    if unknown:
        raise ConfigError(f"prompt.shots = {unknown}: not in mbpp:prompt, which has {list(known)}")
    return tuple(known[name] for name in config.prompt.shots)


def own_copy(params: Params) -> Params:
    """Arrays of their own, so that donating one tree leaves the other alive."""
    return jax.tree.map(lambda x: x.copy(), params)
