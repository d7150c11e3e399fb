import itertools
import json
import math
import re
from functools import partial

import gymnasium
import numpy as np
import pytest
import scipy.stats
import torch
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from gymnasium.wrappers.vector import RecordEpisodeStatistics
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_equal
from torch import nn
from torch.nn import functional as F

import ppo_tanks
from helpers.actuators import (
    GRID,
    MOST_LISTED,
    SIBLINGS,
    ActuatorEnv,
    ActuatorVectorEnv,
    Additive,
    Autoregressive,
    Factorised,
    Grouped,
    Interlock,
    Joint,
    Masked,
    Plant,
    Policy,
    Tanks,
    combinations,
    reinforce,
    roll_out,
    round_gradients,
    scaled,
)
from helpers.seeds import seeded, stack


def halves(actuators):
    """Two groups, whose switches alternate."""
    switches = list(range(actuators))
    return Grouped([switches[1::2], switches[::2]])


KINDS, ALLOWED, NOTHING = (
    [Factorised, Joint, Autoregressive, halves],
    combinations(6).sum(-1) <= 2,
    np.zeros(6),
)
POLICIES = [kind(6) for kind in KINDS] + [Masked(kind(6), ALLOWED) for kind in KINDS]
every_policy = pytest.mark.parametrize(
    "policy",
    POLICIES,
    ids=[masked + kind.__name__ for masked in ("", "Masked ") for kind in KINDS],
)
every_plant = pytest.mark.parametrize("plant", [Additive, Interlock, Tanks])
every_environment = pytest.mark.parametrize(
    "make", [ActuatorEnv, partial(ActuatorVectorEnv, num_envs=3)], ids=["one", "many"]
)
close = partial(torch.testing.assert_close, rtol=0, atol=1e-10)


def valve(*names):
    return np.isin(Tanks.valves, names)[None].astype(float)


def only(policy):
    return (
        policy.allowed
        if isinstance(policy, Masked)
        else torch.ones(64, dtype=torch.bool)
    )


def normal(policy, *shape, seed=0):
    return torch.randn(
        *shape,
        policy.width,
        dtype=torch.float64,
        generator=torch.Generator().manual_seed(seed),
    )


def index_of(actions):
    return (actions.long() << torch.arange(actions.shape[-1])).sum(-1)


# Plants

level = st.sampled_from([0.0, 1.0, 1e-9, 1 - 1e-9]) | st.floats(0, 1)
levels = st.tuples(level, level, level)


def plain_step(levels, action):
    """One step of the tanks for one plant, as one would write it down."""
    levels, drained, spilled = list(levels), 0.0, 0.0
    for _ in range(5):
        for tank, drain in ((0, action[4]), (2, action[5])):
            out = min(
                drain * 2 * 0.6 * 0.01 * math.sqrt(2 * 9.81 * levels[tank]),
                levels[tank],
            )
            levels[tank], drained = levels[tank] - out, drained + out
        for left, pipe in ((0, action[2]), (1, action[3])):
            up, down = (
                (left, left + 1)
                if levels[left] > levels[left + 1]
                else (left + 1, left)
            )
            flow = min(
                pipe
                * 2
                * 0.6
                * 0.01
                * math.sqrt(2 * 9.81 * (levels[up] - levels[down])),
                (levels[up] - levels[down]) / 2,
            )
            levels[up], levels[down] = levels[up] - flow, levels[down] + flow
        levels[0], levels[2] = (
            levels[0] + 0.02 * action[0],
            levels[2] + 0.02 * action[1],
        )
        spilled += sum(max(level - 1, 0) for level in levels)
        levels = [min(level, 1) for level in levels]
    return *levels, drained, spilled


@settings(deadline=None, max_examples=60)
@given(levels, st.integers(0, 10**6), st.sampled_from([0.2, 0.5, 0.9]))
def test_no_water_is_lost_or_made_and_a_step_is_that_of_a_plain_loop(
    start, seed, open_share
):
    env = ActuatorEnv(Tanks())
    before, _ = env.reset(options={"state": start})
    for action in (np.random.default_rng(seed).random((25, 6)) < open_share).astype(
        int
    ):
        after, reward, _, _, info = env.step(action)
        assert after.sum() == pytest.approx(
            before.sum() + info["fed"] - info["drained"] - info["spilled"], abs=1e-9
        )
        assert (
            info["fed"] == pytest.approx(0.1 * action[:2].sum(), abs=1e-12)
            and (after >= 0).all()
            and (after <= 1).all()
        )
        assert (*after, info["drained"], info["spilled"]) == pytest.approx(
            plain_step(before, action), abs=1e-12
        )
        assert reward == pytest.approx(
            -(abs(after[0] - 0.7) + abs(after[1] - 0.5) + abs(after[2] - 0.3)) / 3,
            abs=1e-12,
        )
        before = after


@settings(deadline=None)
@given(levels)
def test_closed_valves_move_nothing(start):
    states, _, info = Tanks().move(np.array([start]), NOTHING[None])
    assert_equal(
        (states, info),
        (np.array([start]), dict.fromkeys(("fed", "drained", "spilled"), np.zeros(1))),
    )


@pytest.mark.parametrize(
    "name, signs",
    [
        ("feed 1", (1, 0, 0)),
        ("feed 3", (0, 0, 1)),
        ("pipe 1-2", (-1, 1, 0)),
        ("pipe 2-3", (0, -1, 1)),
        ("drain 1", (-1, 0, 0)),
        ("drain 3", (0, 0, -1)),
    ],
)
def test_what_each_valve_does(name, signs):
    start = np.array([[0.8, 0.5, 0.2]])
    assert (
        tuple(np.sign(Tanks().move(start, valve(name))[0] - start)[0]) == signs
        and start[0, 0] == 0.8
    )


@settings(deadline=None, max_examples=50)
@given(level, level, st.sampled_from([0, 1]))
def test_a_pipe_levels_two_tanks_and_never_overshoots(one, other, pipe):
    plant, states, gap = Tanks(), np.full((1, 3), 0.123), one - other
    states[0, pipe : pipe + 2] = one, other
    for _ in range(40):
        states = plant.move(states, valve(("pipe 1-2", "pipe 2-3")[pipe]))[0]
        gap, before = states[0, pipe] - states[0, pipe + 1], gap
        assert abs(gap) <= abs(before) and gap * before >= -1e-15
    assert (
        states[0, pipe : pipe + 2] == pytest.approx([(one + other) / 2] * 2, abs=1e-6)
        and states[0, 2 - 2 * pipe] == 0.123
    )


def test_torricelli_feeds_and_spills():
    plant = Tanks()
    plant.slices = 1
    for height in (0.04, 0.5, 1.0):
        flow = 2 * 0.6 * 0.01 * math.sqrt(2 * 9.81 * height)
        assert plant.move(np.array([[height, 0.5, 0.5]]), valve("drain 1"))[2][
            "drained"
        ] == pytest.approx(min(flow, height), rel=1e-12)
        assert plant.move(np.array([[0.0, height, height]]), valve("pipe 1-2"))[0][
            0, 0
        ] == pytest.approx(min(flow, height / 2), rel=1e-12)
    # 10 s in five slices are near the exact solution, in which the root of the
    # level falls at a constant rate.
    states = Tanks().move(np.array([[0.8, 0, 0]]), valve("drain 1"))[0]
    assert states[0, 0] == pytest.approx(
        (math.sqrt(0.8) - 0.006 * math.sqrt(2 * 9.81) * 10 / 2) ** 2, rel=0.02
    )
    states, _, info = Tanks().move(
        np.array([[0.2, 0.2, 0.95]]), valve("feed 1", "feed 3")
    )
    assert (
        states[0] == pytest.approx([0.3, 0.2, 1])
        and info["fed"] == pytest.approx(0.2)
        and info["spilled"] == pytest.approx(0.05)
    )
    assert Tanks((0, 0, 0.9)).move(np.array([[0.3, 0.6, 0.9]]), NOTHING[None])[
        1
    ] == pytest.approx(-0.3)


@pytest.mark.parametrize("actuators", [1, 6, 10])
def test_additive_pays_the_share_of_switches_that_are_as_wanted(actuators):
    plant = Additive(actuators)
    states = plant.begin(np.random.default_rng(0), 50)
    wanted = np.array(
        [
            [
                float(sum(x * y for x, y in zip(state, plane)) > 0)
                for plane in plant.planes
            ]
            for state in states
        ]
    )
    assert (
        states.shape == (50, 3)
        and states.min() < -0.9
        and states.max() > 0.9
        and plant.planes.tolist() == Additive(actuators).planes.tolist()
    )
    for flipped in range(actuators + 1):
        after, rewards, info = plant.move(
            states, abs(wanted - (np.arange(actuators) < flipped))
        )
        assert (
            rewards == pytest.approx(1 - flipped / actuators)
            and np.array_equal(after, states)
            and info == {}
        )


@pytest.mark.parametrize("two_on, banks", [(-1.0, 2), (0.25, 2), (-1, 3), (0, 1)])
def test_interlock_pays_for_each_bank_by_the_number_of_its_switches_on(two_on, banks):
    earned, state = {0: 0.5, 1: 0.4, 2: two_on, 3: 1}, np.array([[0.3, -1, 1]])
    plant = Interlock(two_on, banks)
    assert plant.actuators == 3 * banks
    for action in combinations(3 * banks).numpy():
        after, rewards, info = plant.move(state, action[None])
        each = [earned[sum(action[3 * bank : 3 * bank + 3])] for bank in range(banks)]
        assert rewards == pytest.approx(np.mean(each), abs=1e-12)
        assert np.array_equal(after, state) and info == {}
    assert Interlock().earns.tolist() == [0.5, 0.4, -1, 1] and Interlock().banks == 2


def test_bad_interlocks():
    for bad in (math.nan, math.inf, "1", None):
        with pytest.raises(ValueError) as error:
            Interlock(bad)
        assert str(error.value) == f"two_on must be a finite number, got {bad}"
    for bad in (0, 2.0, True):
        with pytest.raises(ValueError) as error:
            Interlock(banks=bad)
        assert str(error.value) == f"banks must be a positive integer, got {bad}"


@pytest.mark.parametrize(
    "targets",
    [
        0.5,
        None,
        "full",
        (0.7, 0.5),
        [[0.7, 0.5, 0.3]],
        (0.7, 0.5, 1.01),
        (-0.01, 0.5, 0.3),
        (0.7, math.nan, 0.3),
    ],
)
def test_bad_targets(targets):
    with pytest.raises(ValueError) as error:
        Tanks(targets)
    assert (
        str(error.value) == f"targets must be three levels from 0 to 1 m, got {targets}"
    )


def test_targets_are_copied_and_may_be_the_ends():
    targets = np.array([0.0, 1.0, 0.5])
    plant = Tanks(targets)
    targets[0] = 0.5
    assert plant.targets.tolist() == [0, 1, 0.5]


@pytest.mark.parametrize("bad", [0, -1, 2.5, 6.0, "6", None, True])
def test_bad_numbers_of_actuators(bad):
    makers = Additive, Factorised, Autoregressive, Joint, combinations
    for make in (*makers, partial(ActuatorVectorEnv, Tanks())):
        with pytest.raises(ValueError) as error:
            make(bad)
        name = "num_envs" if isinstance(make, partial) else "actuators"
        assert str(error.value) == f"{name} must be a positive integer, got {bad}"
    assert Factorised(np.int64(3)).width == Additive(np.int64(3)).actuators == 3


@every_plant
def test_a_plant_refuses_another_number_of_switches(plant):
    states = np.zeros((4, 3))
    for shape in ((4, 5), (4, 7), (4, 1), (1, 6), (6,)):
        with pytest.raises(
            ValueError,
            match=rf"^actions must have shape \(4, 6\), got {re.escape(str(shape))}$",
        ):
            plant().move(states, np.zeros(shape))
    for shape in ((4, 2), (3,), (1, 4, 3)):
        with pytest.raises(
            ValueError,
            match=rf"^states must have shape \(N, 3\), got {re.escape(str(shape))}$",
        ):
            plant().move(np.zeros(shape), np.zeros((4, 6)))


@pytest.mark.parametrize("p", [0.1, 0.5, 0.5893, 0.9])
@pytest.mark.parametrize("switch", [0, 4])
def test_the_advantage_of_on_where_the_others_are_on_with_probability_p(switch, p):
    rewards = torch.from_numpy(
        Interlock().move(np.zeros((64, 3)), combinations(6).numpy())[1]
    )
    weighted = (
        rewards
        * Factorised(6)
        .log_table(torch.full((6,), math.log(p / (1 - p)), dtype=torch.float64))
        .exp()
    )
    on = combinations(6)[:, switch] == 1
    advantage = 2 * (
        weighted[on].sum() / p - weighted[~on].sum() / (1 - p)
    )  # in what its bank earns, which is twice its part of the mean
    assert advantage.item() == pytest.approx(4.7 * p**2 - 2.6 * p - 0.1, abs=1e-12)


# Environments


@pytest.mark.filterwarnings("error")
@every_plant
def test_gymnasium_accepts_the_environment(plant):
    check_env(ActuatorEnv(plant()), skip_render_check=True)


@pytest.mark.filterwarnings("error")
@every_plant
def test_the_vector_environment_is_as_gymnasiums_own(plant):
    """The first episodes to the last bit, the flags through the ends of episodes."""
    ours, theirs = (
        ActuatorVectorEnv(plant(), 3),
        SyncVectorEnv([lambda: ActuatorEnv(plant())] * 3),
    )
    for name in (
        "num_envs",
        "observation_space",
        "action_space",
        "single_observation_space",
        "single_action_space",
    ):
        assert getattr(ours, name) == getattr(theirs, name)
    assert (
        ours.metadata["autoreset_mode"]
        == theirs.metadata["autoreset_mode"]
        == AutoresetMode.NEXT_STEP
    )
    start = np.array([0.2, 0.9, 0.4])
    assert_equal(
        ours.reset(options={"state": np.tile(start, (3, 1))}),
        theirs.reset(options={"state": start}),
    )
    ours.action_space.seed(0)
    for t in range(1, 60):
        actions = ours.action_space.sample()
        mine, yours = ours.step(actions), theirs.step(actions)
        assert_equal(mine[2:4], yours[2:4])
        assert mine[0] in ours.observation_space and all(
            a.dtype == b.dtype for a, b in zip(mine[1:4], yours[1:4])
        )
        if (
            t % (plant.steps + 1) == 0
        ):  # the step that only begins the next episodes, each in a state of its own
            assert_equal((mine[1], mine[4]), (yours[1], yours[4]))
            assert len(np.unique(mine[0])) == 9
        elif t <= plant.steps:
            assert_equal(
                (mine[:2], mine[4]),
                (yours[:2], {name: yours[4][name] for name in mine[4]}),
            )
    counted = RecordEpisodeStatistics(ActuatorVectorEnv(plant(), 2))
    counted.reset(seed=0)
    infos = [counted.step(np.zeros((2, 6)))[4] for _ in range(2 * plant.steps + 1)]
    assert [info["episode"]["l"].tolist() for info in infos if "episode" in info] == [
        [plant.steps] * 2
    ] * 2


@every_plant
def test_the_vector_environment_is_many_environments(plant):
    together, alone, random = (
        ActuatorVectorEnv(plant(), 4),
        [ActuatorEnv(plant()) for _ in range(4)],
        np.random.default_rng(0),
    )
    observations, _ = together.reset(seed=0)
    for episode in range(3):
        for env, state in zip(alone, observations):
            assert_equal(env.reset(options={"state": state}), (state, {}))
        for t in range(1, plant.steps + 1):
            actions = random.integers(0, 2, (4, 6))
            *parts, info = together.step(actions)
            for number, env in enumerate(alone):
                assert_equal(
                    env.step(actions[number]),
                    (
                        *(part[number] for part in parts),
                        {name: value[number] for name, value in info.items()},
                    ),
                )
            ends = t == plant.steps
            assert (
                parts[2].tolist() == [ends and plant is not Tanks] * 4
                and parts[3].tolist() == [ends and plant is Tanks] * 4
            )
        observations = together.step(actions)[0]
    assert Tanks.steps == 25


@every_plant
@every_environment
def test_a_seed_decides_all(plant, make):
    def played(seed):
        env = make(plant())
        first, step = (
            env.reset(seed=seed)[0],
            env.step(np.ones(env.action_space.shape))[:2],
        )
        return first, *step, env.reset()[0]

    assert_equal(played(1), played(1))
    (first, _, rewards, second), others = played(1), played(2)
    assert (
        (first != others[0]).all()
        and (second != others[3]).all()
        and (first != second).all()
    )
    assert plant is Interlock or np.any(rewards != others[2])


@every_environment
def test_what_goes_in_and_out_are_copies(make):
    env, twin = make(Tanks()), make(Tanks())
    state, actions = (
        np.full(env.observation_space.shape, 0.5),
        np.ones(env.action_space.shape),
    )
    twin.reset(options={"state": state.copy()})
    begun, _ = env.reset(options={"state": state})
    state[:], begun[:] = 0.1, 0.2
    for _ in range(3):
        one, other = env.step(actions), twin.step(actions)
        assert_equal(one, other)
        one[0][:] = 0.3
    assert actions.min() == 1
    begun, _ = env.reset(seed=0)
    before = begun.copy()
    begun[:] = 0.3
    assert_equal(env.step(0 * actions)[0], before)


@every_environment
@pytest.mark.parametrize(
    "bad, message",
    [
        (np.zeros(5), r"have shape .*6,?\), got \(5,\)"),
        (np.zeros((1, 1, 6)), r"have shape .*, got \(1, 1, 6\)"),
        (1, r"have shape .*, got \(\)"),
        (2.0, r"hold only 0 \(off\) and 1 \(on\), got 2.0"),
        (0.5, "hold .*, got 0.5"),
        (math.nan, "hold .*, got nan"),
        (-1.0, "hold .*, got -1.0"),
        ("on", "hold .*, got on"),
    ],
)
def test_a_bad_action_changes_nothing(make, bad, message):
    env, twin = make(Tanks()), make(Tanks())
    if "hold" in message:
        bad = np.array(
            [0] * (math.prod(env.action_space.shape) - 1) + [bad], dtype=object
        ).reshape(env.action_space.shape)
        bad = bad if "on" == bad.flat[-1] else bad.astype(float)
    for each in (env, twin):
        each.reset(seed=3)
    for t in range(27):
        with pytest.raises(ValueError, match=f"^an action must {message}"):
            env.step(bad)
        if t == 25 and make is ActuatorEnv:
            assert_equal(env.reset(), twin.reset())
        actions = np.random.default_rng(t).integers(0, 2, env.action_space.shape)
        assert_equal(env.step(actions), twin.step(actions))


@every_environment
@pytest.mark.parametrize(
    "bad, message",
    [
        ([0.5, 0.5], "have shape"),
        ([[[0.5] * 3]], r"have shape .*got \(.*1, 1, 3\)"),
        ([0.5, 0.5, 1.01], "lie between"),
        ([0.5, -0.01, 0.5], "lie between .*-0.01"),
        ([0.5, math.nan, 0.5], "lie between .*nan"),
        ("full", r"have shape .*, got \(\)"),
    ],
)
def test_a_bad_start_changes_nothing(make, bad, message):
    env, twin = make(Tanks()), make(Tanks())
    for each in (env, twin):
        each.reset(seed=3)
    for actions in np.random.default_rng(0).integers(
        0, 2, (25, *env.action_space.shape)
    ):
        with pytest.raises(ValueError, match=f"^state must {message}"):
            env.reset(options={"state": bad if make is ActuatorEnv else [bad] * 3})
        assert_equal(env.step(actions), twin.step(actions))
    with pytest.raises(
        ValueError,
        match=r"^options may hold a state and nothing else, got \['levels'\]",
    ):
        env.reset(seed=4, options={"levels": bad})
    assert_equal(env.reset(options={}), twin.reset())
    for plant in (Additive(), Interlock()):
        assert ActuatorEnv(plant).reset(options={"state": [-1, 0, 1]})[0].tolist() == [
            -1,
            0,
            1,
        ]


@every_environment
def test_a_plant_that_is_none(make):
    for bad in (Tanks, "tanks"):
        with pytest.raises(ValueError) as error:
            make(bad)
        assert str(error.value) == f"plant must be an instance of Plant, got {bad}"


@every_plant
def test_steps_before_the_first_reset_and_after_the_end(plant):
    for env in (ActuatorVectorEnv(plant(), 2), ActuatorEnv(plant())):
        with pytest.raises(gymnasium.error.ResetNeeded, match=r"call reset\(\) first"):
            env.step(np.zeros(env.action_space.shape))
    for _ in range(2):
        env.reset()
        assert [env.step(NOTHING)[2:4] for _ in range(plant.steps)] == [
            (False, False)
        ] * (plant.steps - 1) + [(plant is not Tanks, plant is Tanks)]
        for _ in range(2):
            with pytest.raises(gymnasium.error.ResetNeeded):
                env.step(NOTHING)


# Policies


def test_the_order_of_combinations():
    assert combinations(6).dtype == torch.float64 and combinations(6).tolist() == [
        [i >> j & 1 for j in range(6)] for i in range(64)
    ]


@every_policy
@pytest.mark.parametrize("shape", [(), (4,), (2, 3)])
def test_the_table_of_probabilities(policy, shape):
    outputs = 3 * normal(policy, *shape)
    table, entropy, best, allowed = (
        policy.log_table(outputs),
        policy.entropy(outputs),
        policy.best(outputs),
        only(policy),
    )
    assert (
        table.shape == (*shape, 64)
        and entropy.shape == shape
        and best.shape == (*shape, 6)
    )
    close(table.exp().sum(-1), torch.ones(shape, dtype=torch.float64))
    assert (table.exp()[..., ~allowed] == 0).all() and (
        table.exp()[..., allowed] > 0
    ).all()
    close(
        policy.log_prob(
            outputs.unsqueeze(-2).expand(*shape, 64, -1),
            combinations(6).expand(*shape, 64, 6),
        ),
        table,
    )
    assert entropy.numpy() == pytest.approx(
        scipy.stats.entropy(table.exp().numpy(), axis=-1), abs=1e-12
    )
    assert (
        torch.equal(index_of(best), table.argmax(-1)) and allowed[index_of(best)].all()
    )
    fair = policy.entropy(torch.zeros(policy.width, dtype=torch.float64)).item()
    assert fair == pytest.approx(
        math.log(1 + 6 + 15) if isinstance(policy, Masked) else 6 * math.log(2),
        abs=1e-12,
    )
    if isinstance(policy, Masked):
        unmasked = policy.policy.log_table(outputs)[..., allowed]
        close(table[..., allowed], unmasked - unmasked.logsumexp(-1, keepdim=True))


def test_factorised_is_minus_the_binary_cross_entropy_and_joint_a_softmax():
    outputs = 5 * normal(Factorised(6), 64)
    expected = -F.binary_cross_entropy_with_logits(
        outputs, combinations(6), reduction="none"
    ).sum(-1)
    close(Factorised(6).log_prob(outputs, combinations(6)), expected, atol=1e-12)
    outputs = normal(Joint(6))
    close(
        Joint(6).log_prob(outputs.expand(64, 64), combinations(6)).exp(),
        outputs.softmax(-1),
        atol=1e-12,
    )


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10**6))
def test_autoregressive_is_a_plain_loop_over_switches(seed):
    policy, uniforms = (
        Autoregressive(6),
        torch.from_numpy(np.random.default_rng(seed).random(6)),
    )
    outputs = normal(policy, seed=seed)
    couplings = iter(outputs[6:].tolist())
    rows = [[next(couplings) for _ in range(j)] for j in range(6)]
    assert next(couplings, None) is None

    def on(j, earlier):
        return 1 / (
            1
            + math.exp(
                -outputs[j].item()
                - sum(
                    coupling * switch
                    for coupling, switch in zip(rows[j], earlier, strict=True)
                )
            )
        )

    for action in combinations(6)[seed % 7 :: 7].tolist():
        expected = math.prod(
            on(j, action[:j]) if action[j] else 1 - on(j, action[:j]) for j in range(6)
        )
        assert policy.log_prob(
            outputs, torch.tensor(action, dtype=torch.float64)
        ).item() == pytest.approx(math.log(expected), abs=1e-12)
    drawn = []
    for j in range(6):
        drawn.append(float(uniforms[j] < on(j, drawn)))
    assert policy.sample(outputs, uniforms).tolist() == drawn


@every_policy
def test_samples_are_as_frequent_as_the_table_says(policy):
    count, allowed, outputs = 40_000, only(policy), normal(policy) / 2
    uniforms = torch.from_numpy(np.random.default_rng(1).random((2, count // 2, 6)))

    def p_value(drawn_from):
        drawn = policy.sample(drawn_from.expand(2, count // 2, -1), uniforms)
        counts = torch.bincount(index_of(drawn).flatten(), minlength=64)
        assert (
            drawn.dtype == torch.float64
            and drawn.shape == uniforms.shape
            and counts[~allowed].sum() == 0
        )
        return scipy.stats.chisquare(
            counts[allowed], count * policy.log_table(outputs).exp()[allowed]
        ).pvalue

    assert p_value(outputs) > 1e-3 > p_value(1.2 * outputs)


@settings(deadline=None, max_examples=100)
@given(
    st.sampled_from(POLICIES),
    st.integers(0, 10**6),
    st.sampled_from([0.1, 30, 700, 1e6, 1e200]),
    st.floats(0, 1),
)
def test_extreme_outputs_and_uniforms(policy, seed, size, share):
    """Nothing is drawn that has probability 0, and gradients are finite."""
    random = np.random.default_rng(seed)
    if isinstance(policy, Masked):
        allowed = random.random(64) < share
        allowed[random.integers(64)] = True
        policy = Masked(policy.policy, torch.from_numpy(allowed))
    outputs = torch.from_numpy(
        size * random.choice([-1.0, -0.5, 0, 0.9, 1], (8, policy.width))
    ).requires_grad_()
    for actions in (
        policy.sample(
            outputs, torch.from_numpy(random.choice([0.0, 1 - 2**-53, 0.5], (8, 6)))
        ),
        policy.best(outputs),
    ):
        log_prob = policy.log_prob(outputs, actions)
        assert (
            only(policy)[index_of(actions)].all()
            and (log_prob > 6 * math.log(5e-324)).all()
            and (log_prob <= 0).all()
        )
    entropy = policy.entropy(outputs)
    assert (entropy > -1e-9).all() and (entropy < 6 * math.log(2) + 1e-9).all()
    for value in (log_prob, entropy):
        assert (
            torch.autograd.grad(value.sum(), outputs, retain_graph=True)[0]
            .isfinite()
            .all()
        )


@pytest.mark.parametrize("kind", KINDS)
def test_gradients(kind):
    allowed = torch.tensor([1, 0, 1, 1, 0, 1, 0, 1]).bool()
    for policy in (kind(3), Masked(kind(3), allowed)):
        outputs = normal(policy, 5).requires_grad_()
        assert torch.autograd.gradcheck(
            lambda outputs, policy=policy: policy.log_prob(
                outputs, combinations(3)[allowed]
            ),
            outputs,
        )
        assert torch.autograd.gradcheck(policy.entropy, outputs)


@every_policy
def test_bad_outputs_actions_and_uniforms(policy):
    outputs, actions = normal(policy, 2), torch.zeros(2, 6, dtype=torch.float64)
    for call, name in ((policy.log_prob, "actions"), (policy.sample, "uniforms")):
        for bad in (outputs[:, 1:], outputs[0, 0], torch.zeros(2, policy.width + 1)):
            with pytest.raises(
                ValueError,
                match=f"^outputs must have {policy.width} numbers on the last axis, "
                "got shape ",
            ):
                call(bad, actions)
        for bad in (actions[:, 1:], actions[0, 0]):
            with pytest.raises(
                ValueError,
                match=f"^{name} must have 6 numbers on the last axis, got shape ",
            ):
                call(outputs, bad)
    for call in (policy.log_table, policy.best, policy.entropy):
        for bad in (outputs[:, 1:], torch.zeros(2, policy.width + 1)):
            with pytest.raises(
                ValueError,
                match=rf"^outputs must have {policy.width} numbers on the last axis, "
                rf"got shape \(2, {bad.shape[1]}\)",
            ):
                call(bad)
    for bad in (math.nan, math.inf):
        broken = outputs.clone()
        broken[1, 2] = bad
        for call in (
            lambda broken: policy.log_prob(broken, actions),
            lambda broken: policy.sample(broken, actions),
            policy.log_table,
            policy.best,
        ):
            with pytest.raises(ValueError, match="^outputs must be finite"):
                call(broken)
    for bad in (2, 0.5, -1, math.nan):
        actions[1, 3] = bad
        with pytest.raises(
            ValueError, match=rf"^actions must be 0 \(off\) or 1 \(on\), got {bad}"
        ):
            policy.log_prob(outputs, actions)


@every_policy
def test_outputs_and_actions_broadcast_and_actions_may_be_of_any_type(policy):
    outputs, actions = normal(policy, 5, 1), combinations(6)[[0, 21, 62]]
    found = policy.log_prob(outputs, actions)
    assert found.shape == (5, 3)
    for row, column in itertools.product(range(5), range(3)):
        assert torch.isclose(
            found[row, column],
            policy.log_prob(outputs[row, 0], actions[column]),
            rtol=0,
            atol=1e-12,
        )
    assert torch.equal(found, policy.log_prob(outputs, actions.int())) and torch.equal(
        found, policy.log_prob(outputs, actions.bool())
    )
    if isinstance(policy, Masked):
        assert torch.equal(
            found, Masked(policy.policy, ALLOWED.tolist()).log_prob(outputs, actions)
        )


@every_policy
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_what_comes_back_is_of_the_type_of_the_outputs(policy, dtype):
    outputs, uniforms = normal(policy, 4).to(dtype), torch.rand(4, 6)
    actions = policy.sample(outputs, uniforms)
    for found in (
        actions,
        policy.best(outputs),
        policy.entropy(outputs),
        policy.log_table(outputs),
        policy.log_prob(outputs, actions.bool()),
    ):
        assert found.dtype == dtype
    exact = policy.log_table(outputs.double())[..., only(policy)]
    close(policy.log_table(outputs)[..., only(policy)].double(), exact, atol=1e-5)


@every_policy
def test_uniforms_outside_0_to_1(policy):
    outputs, uniforms = normal(policy, 2), torch.full((2, 6), 0.5)
    for bad in (1.0, -0.25, math.nan, math.inf):
        uniforms[1, 3] = bad
        with pytest.raises(ValueError) as error:
            policy.sample(outputs, uniforms)
        assert str(error.value) == f"uniforms must lie in [0, 1), got {bad}"


@every_policy
def test_leading_axes_and_types_that_do_not_fit(policy):
    outputs, switches = normal(policy, 2), torch.zeros(3, 6)
    for call, name in ((policy.log_prob, "actions"), (policy.sample, "uniforms")):
        with pytest.raises(ValueError) as error:
            call(outputs, switches)
        assert str(error.value) == (
            f"{name} must have leading axes that broadcast with those of outputs, "
            f"(2, {policy.width}), got (3, 6)"
        )
        with pytest.raises(ValueError) as error:
            call(outputs, switches.numpy())
        assert str(error.value) == f"{name} must be a tensor, got ndarray"
    kind = f"torch.int64 of shape (2, {policy.width})"
    for bad, message in (
        (outputs.long(), f"outputs must be floating point, got {kind}"),
        (outputs.numpy(), "outputs must be a tensor, got ndarray"),
        (outputs.tolist(), "outputs must be a tensor, got list"),
    ):
        with pytest.raises(ValueError) as error:
            policy.best(bad)
        assert str(error.value) == message


@every_policy
def test_uniforms_broadcast_over_outputs(policy):
    outputs = normal(policy, 5, 1)
    uniforms = torch.from_numpy(np.random.default_rng(0).random((5, 4, 6)))
    drawn = policy.sample(outputs, uniforms)
    assert drawn.shape == (5, 4, 6) and torch.equal(
        drawn, policy.sample(outputs.expand(5, 4, -1), uniforms)
    )


def test_groups_are_softmaxes_side_by_side():
    policy = Grouped([[2, 0], [1, 3, 4], [5]])
    outputs = normal(policy)
    assert policy.width == 4 + 8 + 2
    first, second, third = (part.softmax(-1) for part in outputs.split([4, 8, 2]))
    for a in combinations(6).int().tolist():
        one, two = a[2] + 2 * a[0], a[1] + 2 * a[3] + 4 * a[4]
        expected = first[one] * second[two] * third[a[5]]
        found = policy.log_prob(outputs, torch.tensor(a)).exp()
        assert found.item() == pytest.approx(expected.item(), abs=1e-12)
    everything = Grouped([range(6)])
    outputs = normal(everything)
    close(everything.log_table(outputs), Joint(6).log_table(outputs))


@pytest.mark.parametrize("bad", [[[0, 1], [1, 2]], [[0], [2]], [[1, 2]]])
def test_bad_groups(bad):
    with pytest.raises(ValueError) as error:
        Grouped(bad)
    assert str(error.value) == f"groups must hold each switch from 0 on once, got {bad}"
    with pytest.raises(ValueError, match="^actuators must be at most 16 where all"):
        Grouped([range(17)])
    for nothing in ([], [[], [0]]):
        with pytest.raises(ValueError, match="^actuators must be a positive integer"):
            Grouped(nothing)


def test_outputs_whose_sum_overflows_are_finite():
    outputs = torch.full((2,), 1.7e308, dtype=torch.float64)
    assert Factorised(2).best(outputs).tolist() == [1, 1]


def test_many_actuators():
    """What needs no list of the combinations works for any number of switches."""
    listed = "actuators must be at most 16 where all combinations are listed, got 17"
    assert MOST_LISTED == 16 and combinations(16).shape == (65_536, 16)
    zeros = torch.zeros(40, dtype=torch.float64)
    half = 40 * math.log(2)
    assert Factorised(40).entropy(zeros).item() == pytest.approx(half)
    assert Factorised(40).best(zeros + 1).sum() == 40
    pairs = Grouped([[j, j + 20] for j in range(20)])
    assert pairs.entropy(torch.zeros(80).double()).item() == pytest.approx(half)
    assert pairs.best(torch.arange(80).double()).sum() == 40
    for policy in (Factorised(40), Autoregressive(40), pairs):
        outputs = torch.zeros(policy.width, dtype=torch.float64)
        assert policy.log_prob(outputs, zeros).item() == pytest.approx(-half)
        late = policy is pairs  # in a softmax, the last combination is all on
        assert policy.sample(outputs, zeros + 0.99 * late).sum() == 40
    outputs = normal(Autoregressive(17))
    for call in (
        lambda: Joint(17),
        lambda: combinations(17),
        lambda: Masked(Factorised(17), [True]),
        lambda: Factorised(17).log_table(outputs[:17]),
        lambda: Autoregressive(17).log_table(outputs),
        lambda: Autoregressive(17).best(outputs),
        lambda: Autoregressive(17).entropy(outputs),
    ):
        with pytest.raises(ValueError) as error:
            call()
        assert str(error.value) == listed


@pytest.mark.parametrize(
    "bad, got",
    [
        (torch.ones(64), "torch.float32 of shape (64,)"),
        (torch.ones(63).bool(), "torch.bool of shape (63,)"),
        (torch.ones(1, 64).bool(), "torch.bool of shape (1, 64)"),
    ],
)
def test_bad_masks(bad, got):
    with pytest.raises(ValueError) as error:
        Masked(Factorised(6), bad)
    assert str(error.value) == f"allowed must be 64 bools, got {got}"
    with pytest.raises(ValueError, match="^policy must be an instance of Policy, got "):
        Masked(Factorised, ALLOWED)


def test_masks_add_up():
    few, first = ALLOWED, combinations(6)[:, 0] == 1
    for kind in KINDS:
        twice, once = Masked(Masked(kind(6), few), first), Masked(kind(6), few & first)
        outputs = normal(twice, 3)
        assert torch.equal(twice.log_table(outputs), once.log_table(outputs))
        assert isinstance(twice, Policy) and not isinstance(twice, Joint)
    for policy, mask in ((Factorised(6), few & ~few), (Masked(Joint(6), few), ~few)):
        with pytest.raises(ValueError) as error:
            Masked(policy, mask)
        assert str(error.value) == (
            "allowed must leave at least one combination that the policy allows, "
            "got none"
        )


# Learning

SGD, ADAM = partial(torch.optim.SGD, lr=0.5), partial(torch.optim.Adam, lr=0.02)


def network(policy):
    return lambda: nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, policy.width))


def plain_training(seed, updates, episodes, entropy):
    """Policy gradient for one seed on the tanks, one episode and step after another."""
    model, random, env, returns = (
        seeded(network(Factorised(6)), seed),
        np.random.default_rng(seed),
        ActuatorEnv(Tanks()),
        [],
    )
    optimizer = SGD(model.parameters())
    for _ in range(updates):
        starts, uniforms = (
            random.random((episodes // 8, 3)),
            random.random((25, episodes, 6)),
        )
        earned, losses, loss = np.zeros((episodes, 25)), {}, 0
        for e in range(episodes):
            seen, _ = env.reset(options={"state": starts[e // 8]})
            for t in range(25):
                logits = model(torch.from_numpy(2 * seen - 1))
                action = torch.from_numpy(uniforms[t, e]) < logits.sigmoid()
                losses[e, t] = F.binary_cross_entropy_with_logits(
                    logits, action.double(), reduction="sum"
                )
                loss = (
                    loss
                    - entropy
                    * torch.distributions.Bernoulli(logits=logits).entropy().sum()
                )
                seen, earned[e, t], *_ = env.step(action.numpy())
        for e, t in losses:
            siblings = range(e // 8 * 8, e // 8 * 8 + 8)
            loss = loss + losses[e, t] * (
                earned[e, t:].sum()
                - np.mean([earned[other, t:].sum() for other in siblings])
            )
        optimizer.zero_grad()
        (loss / (25 * episodes)).backward()
        optimizer.step()
        returns.append(earned.sum() / episodes)
    return model, returns


@pytest.mark.parametrize("entropy", [0.0, 0.3])
def test_training_is_the_advantage_weighted_cross_entropy(entropy):
    model, returns = reinforce(
        Tanks(),
        Factorised(6),
        network(Factorised(6)),
        seeds=[3, 0],
        updates=2,
        episodes=16,
        optimizer=SGD,
        entropy=entropy,
    )
    alone, expected = plain_training(0, 2, 16, entropy)
    assert returns.shape == (2, 2) and returns[:, 1].tolist() == pytest.approx(
        expected, abs=1e-10
    )
    for layer in (0, 2):
        # Two steps at a rate of 0.5, each with gradients rounded to the grid.
        near = partial(close, atol=GRID / 2 + 1e-12, check_stride=False)
        near(model[layer].weight[1].T, alone[layer].weight)
        near(model[layer].bias[1, 0], alone[layer].bias)
    assert not any(parameter.requires_grad for parameter in model.parameters())


def test_gradients_are_rounded_to_a_grid():
    assert GRID == 2**-30
    model = nn.Linear(4, 1, bias=False, dtype=torch.float64)
    frozen = nn.Linear(1, 1).requires_grad_(False)
    model.weight.grad = torch.tensor(
        [[1e-17, -0.6 * GRID, 5 * GRID, 0.1]], dtype=torch.float64
    )
    round_gradients(nn.Sequential(model, frozen))
    *small, large = model.weight.grad[0].tolist()
    assert small == [0, -GRID, 5 * GRID] and abs(large - 0.1) < GRID


def test_rounding_errors_do_not_grow():
    """Noise of rounding's size on each gradient leaves the weights where they were."""

    def learn(noise):
        random = torch.Generator().manual_seed(0)

        def add_noise(gradient):
            error = torch.empty_like(gradient).normal_(generator=random)
            return gradient + noise * 1e-17 * error

        def noisy(parameters):
            parameters = list(parameters)
            for parameter in parameters:
                parameter.register_hook(add_noise)
            return ADAM(parameters)

        def make_model():
            hidden = nn.Linear(3, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU()
            return nn.Sequential(*hidden, nn.Linear(32, 21))

        return reinforce(
            Interlock(),
            Autoregressive(6),
            make_model,
            seeds=[0, 1],
            updates=60,
            episodes=64,
            optimizer=noisy,
            entropy=0.2,
        )

    (model, returns), (other, other_returns) = learn(0), learn(1)
    assert torch.equal(returns, other_returns)
    for one, two in zip(model.parameters(), other.parameters()):
        close(one, two, atol=1e-13)


@every_plant
@every_policy
def test_a_seed_does_not_depend_on_the_others(plant, policy):
    options = {
        "updates": 3,
        "episodes": 2 * SIBLINGS,
        "optimizer": ADAM,
        "entropy": 0.01,
    }
    (model, returns), (again, same_returns), (alone, alone_returns) = (
        reinforce(plant(), policy, network(policy), seeds=seeds, **options)
        for seeds in ([5, 1, 1000], [5, 1, 1000], [1])
    )
    assert torch.equal(returns, same_returns)
    close(returns[:, 1:2], alone_returns)
    for here, same, other in zip(
        model.parameters(), again.parameters(), alone.parameters()
    ):
        assert torch.equal(here, same) and not torch.allclose(
            here[0], here[1], atol=1e-3
        )
        close(here[1:2], other)


@every_policy
def test_learning_pays(policy):
    _, returns = reinforce(
        Additive(),
        policy,
        network(policy),
        seeds=[0, 1, 2],
        updates=150,
        episodes=64,
        optimizer=ADAM,
    )
    assert (returns[-20:].mean(0) > returns[:5].mean(0) + 0.1).all() and (
        returns <= 1
    ).all()


def test_entropy_is_kept_where_it_counts():
    policy, states = Joint(6), torch.zeros(3, 1, 3, dtype=torch.float64)
    options = {"seeds": [0, 1, 2], "updates": 80, "episodes": 64, "optimizer": ADAM}
    without, little, much = (
        policy.entropy(
            reinforce(Interlock(), policy, network(policy), entropy=entropy, **options)[
                0
            ](states)
        )
        for entropy in (0.0, 0.1, 10.0)
    )
    assert (little > without + 0.2).all() and (much > little).all() and (much > 4).all()


@every_plant
@every_policy
def test_roll_out_without_chance_takes_the_best(plant, policy):
    plant, model = plant(), stack(network(policy), [0, 1]).requires_grad_(False)
    states = torch.from_numpy(plant.begin(np.random.default_rng(0), 6)).view(2, 3, 3)
    observations, actions, rewards = roll_out(plant, policy, model, states.clone())
    assert (
        observations.shape == (2, plant.steps + 1, 3, 3)
        and actions.shape == (2, plant.steps, 3, 6)
        and rewards.shape == (2, plant.steps, 3)
    )
    assert torch.equal(observations[:, 0], states)
    env = ActuatorEnv(plant)
    for s, n in np.ndindex(2, 3):
        env.reset(options={"state": states[s, n].numpy()})
        for t in range(plant.steps):
            assert torch.equal(
                actions[s, t, n],
                policy.best(model(scaled(plant, observations[:, t])))[s, n],
            )
            assert_equal(
                env.step(actions[s, t, n].numpy())[:2],
                (observations[s, t + 1, n].numpy(), rewards[s, t, n].item()),
            )


def test_observations_are_scaled_to_the_same_range():
    numbers = torch.tensor([[0, 0.25, 1.0]], dtype=torch.float64)
    assert scaled(Tanks(), numbers).tolist() == [[-1, -0.5, 1]] and torch.equal(
        scaled(Additive(), numbers), numbers
    )


@pytest.mark.parametrize(
    "episodes, inputs, width, message",
    [
        (0, 3, 6, "episodes must be a positive integer, got 0$"),
        (-8, 3, 6, "episodes must be a positive integer, got -8$"),
        (12, 3, 6, "episodes must be a multiple of 8, got 12"),
        (8, 3, 64, "outputs must have 6 numbers"),
        (8, 2, 6, r"inputs must have shape \(2 seeds, samples, 2 features\)"),
    ],
)
def test_bad_training(episodes, inputs, width, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        reinforce(
            Tanks(),
            Factorised(6),
            lambda: nn.Sequential(nn.Linear(inputs, width)),
            seeds=[0, 1],
            updates=1,
            episodes=episodes,
            optimizer=SGD,
        )


@pytest.mark.parametrize(
    "bad, message",
    [
        ({"plant": Tanks}, "plant must be an instance of Plant, got <class "),
        (
            {"policy": Factorised(5)},
            "policy must have 6 actuators, as the plant has, got 5$",
        ),
        ({"policy": Joint}, "policy must be an instance of Policy, got <class "),
        ({"updates": 0}, "updates must be a positive integer, got 0$"),
        ({"updates": 1.5}, "updates must be a positive integer, got 1.5$"),
        ({"entropy": math.nan}, "entropy must be finite, got nan$"),
        (
            {"optimizer": partial(torch.optim.SGD, lr=math.nan)},
            "the weights are NaN or infinite after training: lower the learning rate$",
        ),
    ],
)
def test_bad_options_of_training(bad, message):
    options = {"plant": Tanks(), "policy": Factorised(6), "updates": 1, **bad}
    options.setdefault("optimizer", SGD)
    with pytest.raises(ValueError, match=f"^{message}"):
        reinforce(
            make_model=network(Factorised(6)),
            seeds=[0],
            episodes=8,
            **options,
        )


@pytest.mark.parametrize(
    "bad, message",
    [
        ({"plant": Tanks}, "plant must be an instance of Plant, got <class "),
        ({"policy": Joint(5)}, "policy must have 6 actuators, as the plant has, got 5"),
        (
            {"states": torch.zeros(2, 4, 3)},
            "states must be float64 of shape (seeds, episodes, 3), "
            "got torch.float32 of shape (2, 4, 3)",
        ),
        (
            {"states": torch.zeros(2, 3).double()},
            "states must be float64 of shape (seeds, episodes, 3), "
            "got torch.float64 of shape (2, 3)",
        ),
        ({"states": np.zeros((2, 4, 3))}, "states must be a tensor, got ndarray"),
        (
            {"states": torch.full((2, 4, 3), math.nan).double()},
            "states must lie between [0. 0. 0.] and [1. 1. 1.], got nan",
        ),
        (
            {"states": torch.full((2, 4, 3), 1.5).double()},
            "states must lie between [0. 0. 0.] and [1. 1. 1.], got 1.5",
        ),
        (
            {"uniforms": torch.zeros(2, 4, 25, 6)},
            "uniforms must be a tensor of shape (2, 25, 4, 6), "
            "got torch.float32 of shape (2, 4, 25, 6)",
        ),
        (
            {"uniforms": np.zeros((2, 25, 4, 6))},
            "uniforms must be a tensor of shape (2, 25, 4, 6), got ndarray",
        ),
        (
            {"uniforms": torch.ones(2, 25, 4, 6)},
            "uniforms must lie in [0, 1), got 1.0",
        ),
        (
            {"states": torch.zeros(3, 4, 3).double()},
            "inputs must have shape (2 seeds, samples, 3 features), got (3, 4, 3)",
        ),
    ],
)
def test_bad_roll_outs(bad, message):
    options = {
        "plant": Tanks(),
        "policy": Factorised(6),
        "model": stack(network(Factorised(6)), [0, 1]),
        "states": torch.zeros(2, 4, 3).double(),
    }
    assert roll_out(**options)[2].shape == (2, 25, 4)
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        roll_out(**{**options, **bad})


def test_a_roll_out_by_chance_draws_as_the_policy_does():
    plant, policy = Tanks(), Autoregressive(6)
    model = stack(network(policy), [0, 1])
    random = np.random.default_rng(0)
    states = torch.from_numpy(plant.begin(random, 8)).view(2, 4, 3)
    uniforms = torch.from_numpy(random.random((2, 25, 4, 6)))
    played = roll_out(plant, policy, model, states, uniforms)
    observations, actions, _ = played
    assert not any(part.requires_grad for part in played)
    for t in (0, 24):
        outputs = model(scaled(plant, observations[:, t]))
        assert torch.equal(actions[:, t], policy.sample(outputs, uniforms[:, t]))


def test_a_plant_of_ones_own():
    class Lamp(Plant):
        steps, goes_on, actuators = 2, False, 2
        low, high = np.zeros(3), np.full(3, 4.0)

        def move(self, states, actions):
            return states / 2, actions[:, 0] - actions[:, 1], {}

    assert scaled(Lamp(), torch.tensor([0, 1, 4.0])).tolist() == [-1, -0.5, 1]
    _, returns = reinforce(
        Lamp(),
        Joint(2),
        network(Joint(2)),
        seeds=[0, 1],
        updates=60,
        episodes=32,
        optimizer=ADAM,
    )
    assert (returns[-1] > 1).all() and (returns <= 2).all()


# The outside check


def test_ppo_learns_and_is_measured_as_the_policies_are():
    distances, played = ppo_tanks.learn(0, 4096, 2)
    assert (
        len(distances) == 2
        and all(0 < distance < 50 for distance in distances)
        and played == 4096
    )

    class Feed:
        def predict(self, states, deterministic):
            assert deterministic
            return np.tile(valve("feed 1").astype(np.int8), (len(states), 1)), None

    # The first tank rises by 0.1 m a step to its rim: it is 7.2 m off its target over
    # 25 steps. In the second episode the last is 0.3 m off, too.
    assert ppo_tanks.distance(
        Feed(), Tanks(), np.array([[0, 0.5, 0.3], [0, 0.5, 0.6]])
    ) == pytest.approx(100 * (7.2 + 7.2 + 25 * 0.3) / 3 / 25 / 2)


def test_the_stored_curves_of_ppo():
    table = json.loads(ppo_tanks.TABLE.read_text("utf-8"))
    assert (
        np.shape(table["distance_cm"]) == (ppo_tanks.SEEDS, ppo_tanks.CHECKPOINTS)
        and np.isfinite(table["distance_cm"]).all()
    )
    assert table["steps"] >= ppo_tanks.STEPS
