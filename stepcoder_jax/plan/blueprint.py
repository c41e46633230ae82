"""A recipe on a mesh, with shapes and shardings in place of arrays.

The trainer's own functions say what there is, and its placement where it lies; nothing needs
weights.
"""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import AbstractMesh, Mesh, Sharding

from stepcoder_jax.config import ModelSettings, RunConfig
from stepcoder_jax.learner import (
    Learner,
    Scores,
    first_critic,
    init_state,
    make_train_batch,
    minibatches,
    score,
)
from stepcoder_jax.learner_of import learner_of
from stepcoder_jax.model.config import ModelConfig
from stepcoder_jax.model.decoder import Decoder
from stepcoder_jax.model.init import critic_logical_axes, logical_axes
from stepcoder_jax.model.lora import (
    adapter_axes,
    critic_adapter_axes,
    init_adapters,
    policy_to_serve,
)
from stepcoder_jax.model.weights import policy_shapes
from stepcoder_jax.sampling.decode import DecodeSettings, empty_state
from stepcoder_jax.sharding import param_shardings, rounded_up, row_sharding, sharding_by, whole
from stepcoder_jax.starting_model import make_critic, make_decoder
from stepcoder_jax.types import RolloutBatch, TrainBatch, TrainState

# A tree of ``jax.ShapeDtypeStruct``s that say where they lie.
type Placed = Any


@dataclass(frozen=True, kw_only=True)
class Blueprint:
    """A recipe on a mesh, whose devices may be described only."""

    config: RunConfig
    model: ModelConfig
    mesh: Mesh | AbstractMesh

    @cached_property
    def decoder(self) -> Decoder:
        """The policy's module."""
        return make_decoder(self._traced, self.model)

    @cached_property
    def learner(self) -> Learner:
        """The learner of the PPO phase."""
        return learner_of(self.config, self.decoder, make_critic(self._traced, self.model))

    @property
    def _traced(self) -> ModelSettings:
        """How the modules compute where they are only traced.

        JAX refuses to trace cuDNN's attention without cuDNN; XLA's has the same products. Formulas
        of memory go by the recipe.
        """
        settings = self.config.model
        is_cudnn = settings.attention == "cudnn"
        return replace(settings, attention="xla") if is_cudnn else settings

    @property
    def row_tokens(self) -> int:
        """T of the longest rows."""
        return self.config.row_widths[-1]

    @property
    def update_rows(self) -> int:
        """Rows of an optimizer step."""
        return self.config.rows // self.config.ppo.minibatches

    @property
    def slots(self) -> int:
        """Rows decoded together."""
        return rounded_up(min(self.config.sampling.slots, self.config.rows), "batch", self.mesh)

    @cached_property
    def weights(self) -> Placed:
        """All parameters of a policy."""
        return self._params(policy_shapes(self.model), logical_axes(self.model))

    @cached_property
    def frozen(self) -> Placed:
        """What adapters are added to; None where whole models are trained."""
        return self.weights if self.config.lora.rank else None

    @property
    def loaded(self) -> Placed:
        """The model as it was loaded: a run keeps it beside what fine-tuning made of it."""
        return self.weights if self.config.sft.steps and not self.config.lora.rank else ()

    @cached_property
    def policy(self) -> Placed:
        """What is trained of the policy; the reference is as large, and lies in the same way."""
        lora = self.config.lora
        if not lora.rank:
            return self.weights
        shapes = jax.eval_shape(lambda: init_adapters(jax.random.key(0), self.model, lora))
        return self._params(shapes, adapter_axes(self.model, lora))

    @cached_property
    def critic(self) -> Placed:
        """What is trained of the critic."""
        kind, lora = self.learner.critic_kind, self.config.lora
        shapes = jax.eval_shape(lambda p: first_critic(kind, p, self.model), self.policy)
        axes = (
            critic_adapter_axes(self.model, lora) if lora.rank else critic_logical_axes(self.model)
        )
        return self._params(shapes, {name: axes[name] for name in shapes})

    @cached_property
    def state(self) -> TrainState:
        """What an optimizer step changes."""
        shapes = jax.eval_shape(
            lambda p, c: init_state(self.learner, p, c), self.policy, self.critic
        )
        return TrainState(
            step=self.whole(shapes.step),
            policy=self.policy,
            critic=self.critic,
            policy_opt=self._moments(shapes.policy_opt, self.policy),
            critic_opt=self._moments(shapes.critic_opt, self.critic),
            beta=self.whole(shapes.beta),
        )

    @cached_property
    def rollouts(self) -> RolloutBatch:
        """An iteration's rows, all of them as long as they can be."""
        shape = (self.config.rows, self.row_tokens)
        kinds = {"tokens": jnp.int32, "is_response": bool, "is_executed": bool}
        fields: dict[str, Any] = {
            name: jax.ShapeDtypeStruct(shape, kinds.get(name, jnp.float32))
            for name in RolloutBatch.__dataclass_fields__
        }
        fields["scores"] = jax.ShapeDtypeStruct(shape[:1], jnp.float32)
        return self._rows(RolloutBatch(**fields))

    @cached_property
    def scores(self) -> Scores:
        """What the models say of those rows."""
        pieces = self.config.ppo.minibatches * self.config.ppo.microbatches
        rows, state = self.rollouts, self.state
        return jax.eval_shape(
            lambda *arrays, frozen: score(
                *arrays, learner=self.learner, pieces=pieces, frozen=frozen
            ),
            *(state.policy, self.policy, state.critic, rows.tokens, rows.is_response),
            frozen=self.frozen,
        )

    @cached_property
    def batch(self) -> TrainBatch:
        """All rows, ready for optimizer steps."""
        made, _ = jax.eval_shape(
            lambda r, s, b: make_train_batch(r, s, beta=b, learner=self.learner),
            self.rollouts,
            self.scores,
            self.state.beta,
        )
        return self._rows(made)

    @cached_property
    def minibatch(self) -> TrainBatch:
        """The rows of one optimizer step."""
        count = self.config.ppo.minibatches
        key = jax.eval_shape(lambda: jax.random.key(0))
        dealt = jax.eval_shape(lambda b, k: minibatches(b, k, count=count), self.batch, key)
        return self._rows(dealt[0])

    @cached_property
    def served(self) -> Placed:
        """Weights for generation, where the compiler puts them; nowhere in particular before."""
        lora, dtype = self.config.lora, self.config.model.dtype
        return jax.eval_shape(
            lambda p, f: policy_to_serve(p, f, lora=lora, dtype=dtype), self.policy, self.frozen
        )

    def with_served(self, shardings: Any) -> "Blueprint":
        """The same, with the weights for generation where ``arrange`` leaves them."""
        found = Blueprint(config=self.config, model=self.model, mesh=self.mesh)
        # What was computed already stays.
        found.__dict__.update(self.__dict__)
        found.__dict__["served"] = jax.tree.map(_placed, self.served, shardings)
        return found

    @cached_property
    def prompts(self) -> Placed:
        """Prompts that are read together, and their lengths."""
        width = self.config.rollout.prompt_buckets[-1]
        count = min(self.config.sampling.prefill_prompts, self.config.rollout.problems)
        count = rounded_up(count, "batch", self.mesh)
        tokens = jax.ShapeDtypeStruct((count, width), jnp.int32)
        return self.whole((tokens, jax.ShapeDtypeStruct((count,), jnp.int32)))

    @cached_property
    def decode_state(self) -> Placed:
        """Rows in the middle of their responses."""
        settings = self.decode_settings
        length = self.config.rollout.prompt_buckets[-1] + settings.max_new_tokens
        shapes = jax.eval_shape(
            lambda: empty_state(
                decoder=self.decoder, settings=settings, slots=self.slots, length=length
            )
        )
        axes = ("batch", "kv_heads")
        cache = jax.tree.map(lambda x: _placed(x, sharding_by(axes, x, self.mesh)), shapes.cache)
        return replace(self._rows(shapes), cache=cache)

    @property
    def decode_settings(self) -> DecodeSettings:
        """How they are sampled."""
        sampling = self.config.sampling
        return DecodeSettings(
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            top_k=sampling.top_k,
            # Constants of the program: which ids they are costs nothing.
            end_token=0,
            pad_token=0,
            max_new_tokens=sampling.max_new_tokens,
        )

    def _params(self, shapes: Any, axes: Any) -> Placed:
        return jax.tree.map(_placed, shapes, param_shardings(shapes, axes, self.mesh))

    def _rows(self, shapes: Any) -> Placed:
        return jax.tree.map(lambda x: _placed(x, row_sharding(x, self.mesh)), shapes)

    def whole(self, shapes: Any) -> Placed:
        """Shapes of arrays that lie whole on every device."""
        return jax.tree.map(lambda x: _placed(x, whole(self.mesh)), shapes)

    def _moments(self, state: Any, params: Placed) -> Placed:
        """An optimizer's state: what is shaped like a parameter lies like it, all else whole."""
        form: Any = jax.tree.structure(params)

        def place(x: Any, param: Any) -> Any:
            return _placed(x, param.sharding if x.shape == param.shape else whole(self.mesh))

        def is_like_params(tree: Any) -> bool:
            return bool(form == jax.tree.structure(tree))

        def place_tree(tree: Any) -> Placed:
            alike = is_like_params(tree)
            return jax.tree.map(place, tree, params) if alike else self.whole(tree)

        return jax.tree.map(place_tree, state, is_leaf=is_like_params)


def _placed(x: Any, sharding: Sharding) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding)
