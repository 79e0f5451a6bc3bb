"""An observation of any supported space becomes one token a time step."""

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces

from rllib_elmur.config import ELMURConfig
from rllib_elmur.model.encoder import build_encoder
from rllib_elmur.model.network import PolicyNetwork
from rllib_elmur.model.previous import OBSERVATION, joined_space

BATCH, TIME, WIDTH = 3, 4, 16

SPACES = {
    "vector": spaces.Box(-1, 1, (5,)),
    "vector_float64": spaces.Box(-1, 1, (5,), np.float64),
    "vector_uint8": spaces.Box(0, 255, (5,), np.uint8),
    "one_number": spaces.Box(-1, 1, (1,)),
    "scalar": spaces.Box(-1, 1, ()),
    "atari_image": spaces.Box(0, 255, (84, 84, 3), np.uint8),
    "grey_image": spaces.Box(0, 255, (84, 84), np.uint8),
    "float_image": spaces.Box(0, 1, (64, 64, 4)),
    "odd_picture": spaces.Box(-1, 1, (7, 9)),
    "odd_image": spaces.Box(0, 255, (13, 5, 2), np.uint8),
    "flat_image": spaces.Box(0, 1, (1, 40, 1)),
    "pixel": spaces.Box(0, 1, (1, 1, 1)),
    "discrete": spaces.Discrete(6),
    "one_value": spaces.Discrete(1),
    "discrete_with_start": spaces.Discrete(6, start=3),
    "discrete_from_below_zero": spaces.Discrete(5, start=-2),
    "multi_discrete": spaces.MultiDiscrete([3, 4, 2]),
    "multi_discrete_with_start": spaces.MultiDiscrete([3, 4], start=[2, -1]),
    "multi_discrete_matrix": spaces.MultiDiscrete([[3, 4], [2, 5]]),
    "multi_binary": spaces.MultiBinary(7),
    "multi_binary_matrix": spaces.MultiBinary((3, 2)),
    "dict": spaces.Dict({"a": spaces.Box(-1, 1, (2,)), "b": spaces.Discrete(3)}),
    "tuple": spaces.Tuple((spaces.Discrete(3), spaces.MultiBinary(4))),
    "nested": spaces.Dict(
        {
            "camera": spaces.Box(0, 255, (9, 11, 3), np.uint8),
            "inventory": spaces.Tuple(
                (
                    spaces.MultiDiscrete([2, 2]),
                    spaces.Dict({"keys": spaces.MultiBinary(2), "time": spaces.Box(0, 1, ())}),
                )
            ),
        }
    ),
}


def observations(space, n_rows=BATCH, n_steps=TIME, seed=0):
    """Samples as (B, T, *space) tensors, nested as the space is."""
    space.seed(seed)
    samples = [space.sample() for _ in range(n_rows * n_steps)]

    def stack(part, values):
        if isinstance(part, spaces.Dict):
            return {key: stack(part[key], [value[key] for value in values]) for key in part}
        if isinstance(part, spaces.Tuple):
            columns = zip(*values, strict=True)
            return tuple(stack(p, list(v)) for p, v in zip(part, columns, strict=True))
        flat = torch.from_numpy(np.stack([np.asarray(value) for value in values]))
        return flat.unflatten(0, (n_rows, n_steps))

    return stack(space, samples)


def parts_of(observation):
    """The tensors of a nested observation."""
    if isinstance(observation, torch.Tensor):
        return [observation]
    values = observation.values() if isinstance(observation, dict) else observation
    return [tensor for value in values for tensor in parts_of(value)]


def apply(observation, function):
    """A function of each tensor of a nested observation."""
    if isinstance(observation, dict):
        return {key: apply(value, function) for key, value in observation.items()}
    if isinstance(observation, tuple):
        return tuple(apply(value, function) for value in observation)
    return function(observation)


@pytest.mark.parametrize("space", SPACES.values(), ids=SPACES)
def test_every_space_gives_one_token_a_time_step_and_every_parameter_gets_gradient(space):
    torch.manual_seed(0)
    encoder = build_encoder(space, WIDTH)
    token = encoder(observations(space))
    assert token.shape == (BATCH, TIME, WIDTH)
    assert token.dtype == torch.float32
    assert token.isfinite().all()
    (token * torch.randn_like(token)).sum().backward()
    for name, parameter in encoder.named_parameters():
        assert parameter.grad is not None and parameter.grad.any(), name


@pytest.mark.parametrize("space", SPACES.values(), ids=SPACES)
def test_a_token_depends_on_its_own_observation_only(space):
    torch.manual_seed(0)
    encoder = build_encoder(space, WIDTH).double()
    observation = observations(space)
    token = encoder(observation)
    for b, t in ((0, 0), (1, 3), (2, 1)):
        alone = apply(observation, lambda x, b=b, t=t: x[b : b + 1, t : t + 1])
        assert torch.allclose(encoder(alone)[0, 0], token[b, t], atol=1e-12)


@pytest.mark.parametrize("space", SPACES.values(), ids=SPACES)
def test_different_observations_give_different_tokens(space):
    torch.manual_seed(0)
    token = build_encoder(space, WIDTH)(observations(space)).flatten(0, 1)
    parts = parts_of(observations(space))
    seen = torch.cat([part.reshape(BATCH * TIME, -1).double() for part in parts], dim=1)
    differ = torch.cdist(seen, seen) > 0
    assert ((torch.cdist(token.double(), token.double()) > 1e-6) == differ).all()


@pytest.mark.parametrize("start", [0, 3, -2])
def test_each_value_of_a_discrete_space_has_an_embedding_of_its_own(start):
    encoder = build_encoder(spaces.Discrete(5, start=start), WIDTH)
    tokens = encoder(torch.arange(start, start + 5)[None])[0]
    assert torch.equal(tokens, encoder.embedding.weight)


def test_each_category_of_a_multi_discrete_space_has_embeddings_of_its_own():
    space = spaces.MultiDiscrete([[2, 3], [1, 4]], start=[[0, 5], [-1, 2]])
    encoder = build_encoder(space, WIDTH)
    low = torch.from_numpy(space.start)
    observation = low + torch.tensor([[1, 2], [0, 3]])
    rows = encoder.embedding.weight
    assert len(rows) == 10
    expected = rows[1] + rows[2 + 2] + rows[5 + 0] + rows[6 + 3]
    assert torch.allclose(encoder(observation[None, None])[0, 0], expected)


@pytest.mark.parametrize(
    "space",
    [
        spaces.Discrete(4, start=2),
        spaces.MultiDiscrete([3], start=[2]),
        spaces.Discrete(3, start=-10),
        spaces.MultiDiscrete([3, 2], start=[-10, -10]),
    ],
)
def test_zeros_that_stand_for_padding_are_accepted_where_the_space_lacks_them(space):
    encoder = build_encoder(space, WIDTH)
    assert encoder(torch.zeros(1, 2, *space.shape, dtype=torch.int64)).isfinite().all()


def test_integer_pixels_are_scaled_and_float_pixels_taken_as_they_are():
    torch.manual_seed(0)
    bytes_encoder = build_encoder(spaces.Box(0, 255, (8, 8, 3), np.uint8), WIDTH)
    float_encoder = build_encoder(spaces.Box(0, 1, (8, 8, 3)), WIDTH)
    float_encoder.load_state_dict(bytes_encoder.state_dict())
    pixels = observations(spaces.Box(0, 255, (8, 8, 3), np.uint8))
    assert torch.allclose(bytes_encoder(pixels), float_encoder(pixels / 255), atol=1e-5)


def test_the_parts_of_a_dict_are_found_by_key_in_any_order():
    space = spaces.Dict({"b": spaces.Discrete(3), "a": spaces.Box(-1, 1, (3,))})
    encoder, observation = build_encoder(space, WIDTH), observations(space)
    turned = dict(reversed(observation.items()))
    assert torch.equal(encoder(observation), encoder(turned))


UNSUPPORTED = {
    "text": (spaces.Text(5), "Text"),
    "sequence": (spaces.Sequence(spaces.Discrete(2)), "Sequence"),
    "graph": (spaces.Graph(spaces.Discrete(2), None), "Graph"),
    "four_axes": (spaces.Box(0, 1, (2, 3, 4, 5)), "(2, 3, 4, 5)"),
    "empty_dict": (spaces.Dict({}), "Dict()"),
    "empty_tuple": (spaces.Tuple(()), "Tuple()"),
}


@pytest.mark.parametrize(
    "action",
    [
        spaces.Discrete(3),
        spaces.MultiDiscrete([2, 3]),
        spaces.Box(-1, 1, (2,)),
        spaces.Dict({"turn": spaces.Discrete(2), "pull": spaces.Box(-1, 1, ())}),
    ],
    ids=lambda space: type(space).__name__,
)
def test_a_previous_action_and_reward_begin_small_beside_the_observation(action):
    space = joined_space(spaces.Discrete(4), action, with_action=True, with_reward=True)
    torch.manual_seed(0)
    encoder = build_encoder(space, WIDTH)
    torch.manual_seed(0)
    alone = {name: build_encoder(part, WIDTH) for name, part in space.items()}
    seen = observations(space)
    tokens = {name: part(seen[name]) for name, part in alone.items()}
    small = sum(token for name, token in tokens.items() if name != OBSERVATION)
    torch.testing.assert_close(encoder(seen), tokens[OBSERVATION] + 0.1 * small)


@pytest.mark.parametrize(("space", "called"), UNSUPPORTED.values(), ids=UNSUPPORTED)
def test_an_unsupported_space_is_one_error_that_names_it_and_what_is_supported(space, called):
    with pytest.raises(ValueError, match="not supported") as error:
        build_encoder(space, WIDTH)
    message = str(error.value)
    assert message.startswith("observation space ")
    assert called in message
    for supported in ("Box", "Discrete", "MultiDiscrete", "MultiBinary", "Dict", "Tuple"):
        assert supported in message.split("must be")[1]


@pytest.mark.parametrize(("space", "called"), UNSUPPORTED.values(), ids=UNSUPPORTED)
def test_an_unsupported_part_is_named_by_its_path(space, called):
    whole = spaces.Dict({"arm": spaces.Tuple((spaces.Discrete(2), spaces.Dict({"x": space})))})
    with pytest.raises(ValueError, match="not supported") as error:
        build_encoder(whole, WIDTH)
    assert str(error.value).startswith("observation['arm'][1]['x'] space ")
    assert called in str(error.value)
    assert "'arm': " not in str(error.value)  # the part, not the whole


@pytest.mark.parametrize(
    "name", sorted(SPACES.keys() - {"one_value"})
)  # equal tokens: no content to learn
def test_a_policy_on_any_space_gives_features_and_a_gradient_to_every_parameter(name):
    torch.manual_seed(0)
    space = SPACES[name]
    config = ELMURConfig(d_model=16, n_heads=2, d_ff=16, segment_length=2)
    policy = PolicyNetwork(space, 5, config)
    features, state = policy(observations(space, n_steps=6), policy.elmur.initial_state(BATCH))
    assert features.shape == (BATCH, 6, 16)
    assert state.clock.tolist() == [6] * BATCH
    logits = policy.pi(features)
    assert logits.shape == (BATCH, 6, 5)
    (logits * torch.randn_like(logits)).sum().backward()
    for name, parameter in policy.named_parameters():
        assert parameter.grad is not None and parameter.grad.any(), name


def test_a_new_policy_is_nearly_uniform():
    torch.manual_seed(0)
    policy = PolicyNetwork(gym.spaces.Box(-1, 1, (3,)), 4, ELMURConfig())
    features, _ = policy(torch.rand(8, 10, 3), policy.elmur.initial_state(8))
    assert (policy.pi(features).softmax(-1) - 0.25).abs().max() < 0.02
