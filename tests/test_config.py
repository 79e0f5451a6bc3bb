"""The options: what is allowed, and what the errors say."""

import dataclasses
import typing
import warnings

import pytest

from rllib_elmur.config import ELMURConfig, ModelArguments
from rllib_elmur.plugin.learner.options import LearnerArguments, LearnerOptions
from rllib_elmur.plugin.policy_options import PolicyOptions, options_of, warn_of_short_sequences

KINDS = (ELMURConfig, PolicyOptions, LearnerOptions)
INTEGERS = ["d_model", "n_layers", "n_heads", "d_ff", "segment_length", "memory_slots"]
NUMBERS = ["distance_scale", "memory_init_std", "memory_lr_scale", "memory_commitment"]
NUMBERS += ["weight_decay", "encoder_weight_decay", "advantage_floor"]
OUT_OF_RANGE = [
    *((name, value, "an integer >= 1") for name in INTEGERS for value in (0, -3, 2.0, "4", None)),
    *(("max_seq_len", value, "an integer >= 1") for value in (0, -1, 35.0, None)),
    *(("attention_window", value, "an integer >= 1, or None") for value in (0, -1, 2.0, True)),
    *(
        ("memory_levels", value, "an integer >= 2 and <= 127, or None")
        for value in (1, 0, -5, 128, 3.0, "5", True)
    ),
    *(
        ("lru_blend", value, "a number >= 0.0 and <= 1.0")
        for value in (-0.01, 1.01, float("nan"), float("inf"), "0.8", None, True)
    ),
    *(
        (name, value, "a number >= 0.0")
        for name in NUMBERS
        for value in (-0.1, float("nan"), "0.1", None)
    ),
    *(
        (name, value, "a bool")
        for name in ("learned_memory", "detach_memory", "norm_first")
        for value in (1, 0, "yes", None)
    ),
    ("n_heads", True, "an integer >= 1"),
]


def kind_of(name):
    """The class whose option this is."""
    [kind] = [kind for kind in KINDS if name in kind.names()]
    return kind


@pytest.mark.parametrize(("name", "value", "allowed"), OUT_OF_RANGE)
def test_a_value_out_of_range_is_one_error_naming_field_value_and_what_is_allowed(
    name, value, allowed
):
    with pytest.raises(ValueError) as error:
        kind_of(name)(**{name: value})
    assert str(error.value) == f"{name}={value!r}: must be {allowed}."
    with pytest.raises(ValueError, match=rf"^{name}="):
        kind_of(name).part_of({name: value})


def test_every_option_has_a_sentence_and_every_range_is_tested():
    options = [option for kind in KINDS for option in dataclasses.fields(kind)]
    for option in options:
        assert option.metadata["help"].endswith(".")
    tested = {name for name, _, _ in OUT_OF_RANGE}
    untested = {option.name for option in options} - tested
    assert all(isinstance(getattr(kind_of(name)(), name), bool) for name in untested)
    for name in untested:
        with pytest.raises(ValueError, match=rf"^{name}='yes': must be a bool"):
            kind_of(name)(**{name: "yes"})


@pytest.mark.parametrize(
    ("arguments", "options"), [(ModelArguments, ELMURConfig), (LearnerArguments, LearnerOptions)]
)
def test_what_an_editor_completes_are_the_options_with_their_types(arguments, options):
    hints = typing.get_type_hints(options)
    completed = {
        name: {*typing.get_args(hint)} - {typing.Any}
        for name, hint in typing.get_type_hints(arguments).items()
    }
    assert completed == {
        name: {*(typing.get_args(hints[name]) or [hints[name]])} for name in options.names()
    }


def test_commitment_needs_something_to_commit_to():
    with pytest.raises(ValueError, match=r"memory_commitment=0.1 .*memory_levels must be >= 2"):
        ELMURConfig(memory_commitment=0.1, memory_levels=None)
    assert ELMURConfig(memory_commitment=0.1, memory_levels=2).memory_commitment == 0.1


@pytest.mark.parametrize(
    "options",
    [
        {"lru_blend": 0},
        {"lru_blend": 1},
        {"memory_init_std": 0},
        {"memory_lr_scale": 0},
        {"attention_window": 1},
        {"memory_levels": None},
        {"memory_levels": 2},
        {"memory_levels": 127},
        {"d_model": 1, "n_heads": 1, "d_ff": 1, "n_layers": 1, "memory_slots": 1},
        {"segment_length": 1},
        {"max_seq_len": 1},
    ],
)
def test_the_ends_of_each_range_are_allowed_without_a_warning(options):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        config = kind_of(next(iter(options)))(**options)
    assert all(getattr(config, name) == value for name, value in options.items())


def test_heads_that_do_not_divide_the_width_are_an_error_naming_both():
    with pytest.raises(ValueError) as error:
        ELMURConfig(d_model=64, n_heads=5)
    assert "n_heads=5" in str(error.value) and "d_model=64" in str(error.value)
    assert "multiple" in str(error.value)


@pytest.mark.parametrize(
    ("key", "nearest"),
    [
        ("segment_lenght", "segment_length"),
        ("memory_slot", "memory_slots"),
        ("lru_blend_", "lru_blend"),
        ("n_layer", "n_layers"),
        ("norm_frist", "norm_first"),
    ],
)
def test_an_unknown_key_suggests_the_nearest_option(key, nearest):
    with pytest.raises(ValueError) as error:
        options_of({"d_model": 32, key: 3})
    assert f"{key}=3" in str(error.value)
    assert f"Did you mean '{nearest}'?" in str(error.value)


def test_an_unknown_key_like_no_option_lists_them_all():
    with pytest.raises(ValueError) as error:
        options_of({"zzz": 1})
    assert "zzz=1" in str(error.value) and "Did you mean" not in str(error.value)
    assert all(option.name in str(error.value) for option in dataclasses.fields(ELMURConfig))


def test_a_mapping_gives_its_options_and_leaves_out_the_keys_it_is_told_to_ignore():
    options = {"d_model": 32, "fcnet_hiddens": [256], "vf_share_layers": True}
    config, _ = options_of(options, ignored=["vf_share_layers", "fcnet_hiddens", "other"])
    assert config == ELMURConfig(d_model=32)
    with pytest.raises(ValueError, match=r"^fcnet_hiddens="):
        options_of(options, ignored=["vf_share_layers"])


def test_the_mapping_of_a_config_s_own_options_gives_it_back():
    config = ELMURConfig(d_model=32, memory_levels=5, lru_blend=0.5)
    assert options_of(dataclasses.asdict(config)) == (config, PolicyOptions())
    assert options_of({}) == (ELMURConfig(), PolicyOptions())


@pytest.mark.parametrize("max_seq_len", [1, 5, 9])
def test_training_sequences_under_two_segments_are_warned_of(max_seq_len):
    with pytest.warns(UserWarning) as caught:
        warn_of_short_sequences(max_seq_len, segment_length=5)
    assert len(caught) == 1
    message = str(caught[0].message)
    assert f"max_seq_len={max_seq_len}" in message and "segment_length=5" in message
    assert "at least 10" in message


@pytest.mark.parametrize("max_seq_len", [10, 11, 35])
def test_training_sequences_of_two_segments_or_more_are_not(max_seq_len):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_of_short_sequences(max_seq_len, segment_length=5)


def test_a_config_cannot_be_changed_after_its_check():
    with pytest.raises(dataclasses.FrozenInstanceError):
        ELMURConfig().lru_blend = 7
