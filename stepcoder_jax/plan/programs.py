"""The programs that a recipe's PPO phase runs, with shapes and shardings in place of arrays.

They are the functions that the trainer calls. Where their arguments lie is what the trainer's own
placement says; nothing needs weights.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import AbstractMesh, Mesh, Sharding

from stepcoder_jax.config import RunConfig
from stepcoder_jax.learner import (
    Learner,
    Scores,
    first_critic,
    init_state,
    make_train_batch,
    minibatches,
    score,
    update,
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
from stepcoder_jax.model.serving import serving_decoder
from stepcoder_jax.model.weights import policy_shapes
from stepcoder_jax.sampling.decode import DecodeSettings, decode_chunk, empty_state, prefill
from stepcoder_jax.sharding import param_shardings, row_shardings, whole
from stepcoder_jax.starting_model import make_critic, make_decoder
from stepcoder_jax.types import RolloutBatch, TrainBatch, TrainState

# A tree of ``jax.ShapeDtypeStruct``s that say where they lie.
type Placed = Any


@dataclass(frozen=True, kw_only=True)
class Program:
    """A jitted function of the trainer and what it is called with.

    Attributes:
      static: keyword arguments that are no arrays.
      resident: what lies on the devices meanwhile without being an argument.
      tokens: of all devices together, that one call handles.
    """

    name: str
    function: Any
    arguments: tuple[Placed, ...]
    static: Mapping[str, Any]
    resident: Placed
    tokens: int
    arrays: Mapping[str, Placed] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Blueprint:
    """A recipe on a mesh, whose devices may be described only."""

    config: RunConfig
    model: ModelConfig
    mesh: Mesh | AbstractMesh

    @cached_property
    def decoder(self) -> Decoder:
        """The policy's module."""
        return make_decoder(self.config.model, self.model)

    @cached_property
    def learner(self) -> Learner:
        """The learner of the PPO phase."""
        return learner_of(self.config, self.decoder, make_critic(self.config.model, self.model))

    @property
    def row_tokens(self) -> int:
        """T of the longest rows."""
        return self.config.rollout.prompt_buckets[-1] + self.config.sampling.max_new_tokens

    @property
    def update_rows(self) -> int:
        """Rows of an optimizer step."""
        return self.config.rows // self.config.ppo.minibatches

    @property
    def slots(self) -> int:
        """Rows decoded together."""
        return min(self.config.sampling.slots, self.config.rows)

    @cached_property
    def weights(self) -> Placed:
        """All parameters of a policy."""
        return self._params(policy_shapes(self.model), logical_axes(self.model))

    @cached_property
    def frozen(self) -> Placed | None:
        """What adapters are added to."""
        return self.weights if self.config.lora.rank else None

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
        axes = critic_adapter_axes(self.model, lora) if lora.rank else critic_logical_axes(self.model)
        return self._params(shapes, {name: axes[name] for name in shapes})

    @cached_property
    def state(self) -> TrainState:
        """What an optimizer step changes."""
        shapes = jax.eval_shape(lambda p, c: init_state(self.learner, p, c), self.policy, self.critic)
        return TrainState(
            step=self._whole(shapes.step),
            policy=self.policy,
            critic=self.critic,
            policy_opt=self._moments(shapes.policy_opt, self.policy),
            critic_opt=self._moments(shapes.critic_opt, self.critic),
            beta=self._whole(shapes.beta),
        )

    @cached_property
    def rollouts(self) -> RolloutBatch:
        """An iteration's rows, all of them as long as they can be."""
        shape = (self.config.rows, self.row_tokens)
        kinds = {"tokens": jnp.int32, "is_response": bool, "is_executed": bool}
        fields = {
            name: jax.ShapeDtypeStruct(shape, kinds.get(name, jnp.float32))
            for name in RolloutBatch.__dataclass_fields__
        }
        fields["scores"] = jax.ShapeDtypeStruct(shape[:1], jnp.float32)
        return self._rows(RolloutBatch(**fields))

    @cached_property
    def scores(self) -> Scores:
        """What the models say of those rows."""
        program = self.score
        return jax.eval_shape(
            lambda *a: program.function(*a, **program.static, **program.arrays), *program.arguments
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

    @property
    def programs(self) -> tuple[Program, ...]:
        """All of them, in the order of an iteration."""
        return (self.prefill, self.decode, self.score, self.update)

    @cached_property
    def update(self) -> Program:
        """One optimizer step."""
        count = self.config.ppo.minibatches
        key = jax.eval_shape(lambda: jax.random.key(0))
        pieces = jax.eval_shape(lambda b, k: minibatches(b, k, count=count), self.batch, key)
        return Program(
            name="update",
            function=update,
            arguments=(self.state, self._rows(pieces[0])),
            static={"learner": self.learner},
            arrays={"frozen": self.frozen},
            resident=(self.policy, self.batch),
            tokens=self.update_rows * self.row_tokens,
        )

    @cached_property
    def score(self) -> Program:
        """Log-probabilities and values of all rows under policy, reference and critic."""
        rows, state, ppo = self.rollouts, self.state, self.config.ppo
        return Program(
            name="score",
            function=score,
            arguments=(state.policy, self.policy, state.critic, rows.tokens, rows.is_response),
            static={"learner": self.learner, "pieces": ppo.minibatches * ppo.microbatches},
            arrays={"frozen": self.frozen},
            resident=(state.policy_opt, state.critic_opt),
            tokens=self.config.rows * self.row_tokens,
        )

    @cached_property
    def arrange(self) -> Program:
        """Weights rearranged for generation."""
        return Program(
            name="arrange",
            function=policy_to_serve,
            arguments=(self.policy, self.frozen),
            static={"lora": self.config.lora, "dtype": self.config.model.dtype},
            resident=(),
            tokens=0,
        )

    @cached_property
    def served(self) -> Placed:
        """Weights for generation, where the compiler puts them; nowhere in particular before."""
        program = self.arrange
        return jax.eval_shape(lambda *a: program.function(*a, **program.static), *program.arguments)

    def with_served(self, shardings: Any) -> "Blueprint":
        """The same, with the weights for generation where ``arrange`` leaves them."""
        found = Blueprint(config=self.config, model=self.model, mesh=self.mesh)
        # What was computed already stays.
        found.__dict__.update(self.__dict__)
        found.__dict__["served"] = jax.tree.map(_placed, self.served, shardings)
        return found

    @cached_property
    def prefill(self) -> Program:
        """Prompts read together."""
        width = self.config.rollout.prompt_buckets[-1]
        count = min(self.config.sampling.prefill_prompts, self.config.rollout.problems)
        prompts = jax.ShapeDtypeStruct((count, width), jnp.int32)
        lengths = jax.ShapeDtypeStruct((count,), jnp.int32)
        return Program(
            name="prefill",
            function=prefill,
            arguments=(self.served, *self._whole((prompts, lengths))),
            static={"decoder": serving_decoder(self.decoder)},
            resident=(self.state, self.policy, self.frozen, self._decode_state),
            tokens=count * width,
        )

    @cached_property
    def decode(self) -> Program:
        """One token of every slot: a chunk is a loop of them."""
        stop_now = jax.ShapeDtypeStruct((self.slots,), bool)
        enough = jax.ShapeDtypeStruct((), jnp.int32)
        return Program(
            name="decode",
            function=decode_chunk,
            arguments=(self.served, self._decode_state, *self._whole((stop_now, enough))),
            static={
                "decoder": serving_decoder(self.decoder),
                "settings": self._settings,
                "steps": self.config.sampling.chunk_tokens,
            },
            resident=(self.state, self.policy, self.frozen),
            tokens=self.slots,
        )

    @cached_property
    def _decode_state(self) -> Placed:
        width = self.config.rollout.prompt_buckets[-1]
        # The sampler puts it whole on every device.
        return self._whole(
            jax.eval_shape(lambda: empty_state(self.decoder, self._settings, self.slots, width))
        )

    @property
    def _settings(self) -> DecodeSettings:
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
        return jax.tree.map(_placed, shapes, row_shardings(shapes, self.mesh))

    def _whole(self, shapes: Any) -> Placed:
        return jax.tree.map(lambda x: _placed(x, whole(self.mesh)), shapes)

    def _moments(self, state: Any, params: Placed) -> Placed:
        """An optimizer's state: what is shaped like a parameter lies like it, all else whole."""
        form = jax.tree.structure(params)

        def place(x: Any, param: Any) -> Any:
            return _placed(x, param.sharding if x.shape == param.shape else whole(self.mesh))

        def is_like_params(tree: Any) -> bool:
            return jax.tree.structure(tree) == form

        def place_tree(tree: Any) -> Placed:
            alike = is_like_params(tree)
            return jax.tree.map(place, tree, params) if alike else self._whole(tree)

        return jax.tree.map(place_tree, state, is_leaf=is_like_params)


def _placed(x: Any, sharding: Sharding) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding)
