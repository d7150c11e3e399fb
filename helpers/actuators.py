"""Actuators: plants with on/off switches, policies that switch, how they learn.

A plant is written once, for many states at a time; the gymnasium environments, one at
a time or many, only wrap it. Explained in the chapter "Reinforcement learning with six
on/off actuators".
"""

import math
import numbers
from collections.abc import Callable, Sequence

import gymnasium
import numpy as np
import torch
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from torch import Tensor, nn
from torch.distributions import Bernoulli, Categorical
from torch.nn import functional as F

from helpers.seeds import stack

SIBLINGS = 8  # episodes that `reinforce` begins in the same state
MOST_LISTED = 16  # actuators whose combinations are listed: 65,536 of them
GRID = 2.0**-30  # about 1e-9; a power of two, so that rounding to it is exact


class Plant:
    """What the plants share.

    A plant of your own is a subclass that adds `steps`, `goes_on` (is an episode only
    cut?), `low`, `high`, `actuators` and `move`:

    move(states (N, 3), actions (N, A) of 0.0 and 1.0): the next states, the rewards
    (N,), and what else is to be known of the step, a dictionary of arrays (N,).
    States are observed as they are, and lie between `low` and `high`.
    """

    def begin(self, random: np.random.Generator, count: int) -> np.ndarray:
        """States (count, 3) in which episodes begin."""
        return random.uniform(self.low, self.high, (count, 3))


class Additive(Plant):
    """Every switch counts by itself: the reward, 0 to 1, is the share that is right.

    Switch j is wanted on where the observation (3 numbers from -1 to 1) lies on the
    positive side of a fixed plane through 0.
    Raises ValueError where `actuators` is not a positive integer.
    """

    steps, goes_on = 1, False
    low, high = -np.ones(3), np.ones(3)

    def __init__(self, actuators: int = 6):
        self.actuators = _count("actuators", actuators)
        self.planes = np.random.default_rng(0).standard_normal((actuators, 3))

    def move(self, states, actions):
        _check_step(states, actions, len(self.planes))
        return states, (actions == (states @ self.planes.T > 0)).mean(-1), {}


class Interlock(Plant):
    """Banks of three switches that must go on together.

    The observation (3 numbers from -1 to 1) says nothing. A bank with 0, 1, 2 or 3
    switches on earns 0.5, 0.4, `two_on` or 1; the reward is the mean over the banks. A
    team game in which good joint choices look bad to each player, as the climbing game
    of Claus & Boutilier 1998 (AAAI, "The dynamics of reinforcement learning ...").
    Raises ValueError where `two_on` is not a finite number or `banks` not a positive
    integer.
    """

    steps, goes_on = 1, False
    low, high = -np.ones(3), np.ones(3)

    def __init__(self, two_on: float = -1.0, banks: int = 2):
        if not isinstance(two_on, numbers.Real) or not math.isfinite(two_on):
            raise ValueError(f"two_on must be a finite number, got {two_on}")
        self.banks = _count("banks", banks)
        self.actuators = 3 * self.banks
        self.earns = np.array([0.5, 0.4, two_on, 1.0])

    def move(self, states, actions):
        _check_step(states, actions, self.actuators)
        on = actions.reshape(-1, self.banks, 3).sum(-1).astype(int)
        return states, self.earns[on].mean(-1), {}


class Tanks(Plant):
    """Three tanks in a row, 1 m high and 1 m2 wide, and six valves.

    Keep the levels (m, also the observation) at `targets`. Valves: feed of the first
    and of the last tank, pipe between 1 and 2, pipe between 2 and 3, drain of the
    first and of the last. Feeds give 10 litres a second; pipes and drains are openings
    of 100 cm2 through which water flows with Torricelli's speed sqrt(2 g h) times 0.6.
    A valve stays as it is set for 10 s, an episode is 25 such steps, and the reward of
    a step is minus the mean distance of the levels from the targets (m). What is fed,
    drained or spilled over the rim in a step (m3) is in the step's info.
    Raises ValueError where `targets` are not three levels from 0 to 1 m.
    """

    steps, goes_on, actuators = 25, True, 6
    low, high = np.zeros(3), np.ones(3)
    valves = ("feed 1", "feed 3", "pipe 1-2", "pipe 2-3", "drain 1", "drain 3")
    # Per slice of 2 s: m, and m per root of m.
    slices, feed, opening = 5, 0.02, 0.012 * np.sqrt(2 * 9.81)

    def __init__(self, targets: Sequence[float] = (0.7, 0.5, 0.3)):
        self.targets = _numbers(targets)
        levels = self.targets
        # The comparison is false for NaN too.
        if levels.shape != (3,) or not ((levels >= 0) & (levels <= 1)).all():
            raise ValueError(
                f"targets must be three levels from 0 to 1 m, got {targets}"
            )

    def move(self, states, actions):
        _check_step(states, actions, len(self.valves))
        # Tanks and valves first: their rows are contiguous.
        levels, valves = states.T.copy(), np.ascontiguousarray(actions.T)
        feeds = self.feed * valves[:2]
        pipes, drains = self.opening * valves[2:4], self.opening * valves[4:]
        ends, drained, spilled = levels[::2], np.zeros_like(drains), 0
        for _ in range(self.slices):
            # No tank gives more than it has.
            out = np.minimum(drains * np.sqrt(ends), ends)
            ends -= out
            drained += out
            for tank, pipe in enumerate(pipes):
                difference = levels[tank] - levels[tank + 1]
                size = abs(difference)
                flow = np.minimum(pipe * np.sqrt(size), size / 2)  # until they level
                flow = np.copysign(flow, difference)
                levels[tank] -= flow
                levels[tank + 1] += flow
            ends += feeds
            over = np.maximum(levels - 1, 0)
            levels -= over
            spilled = spilled + over
        info = {
            "fed": self.slices * feeds.sum(0),
            "drained": drained.sum(0),
            "spilled": spilled.sum(0),
        }
        return levels.T.copy(), -abs(levels.T - self.targets).mean(-1), info


def _count(name, value):
    if isinstance(value, bool) or not isinstance(value, numbers.Integral) or value < 1:
        raise ValueError(f"{name} must be a positive integer, got {value}")
    return int(value)


def _numbers(values):
    """A new float64 array; NaN, without a shape, for what holds no numbers."""
    try:
        return np.array(values, dtype=float)
    except (TypeError, ValueError):
        return np.array(np.nan)


def _check_step(states, actions, actuators):
    # Fewer or more switches could broadcast, and be read as others.
    if states.shape != (len(states), 3):
        raise ValueError(f"states must have shape (N, 3), got {states.shape}")
    if actions.shape != (len(states), actuators):
        raise ValueError(
            f"actions must have shape {(len(states), actuators)}, got {actions.shape}"
        )


class ActuatorEnv(gymnasium.Env):
    """One plant as a gymnasium environment: observation `Box(3)`, action `MultiBinary`.

    reset(options={"state": array of shape (3,)}) begins in that state instead of a
    drawn one. Raises ValueError for an action or a state that is not valid, and
    ResetNeeded after the end; the plant is then left as it was.
    """

    def __init__(self, plant: Plant):
        _check_instance("plant", plant, Plant)
        self.plant = plant
        self.observation_space = spaces.Box(plant.low, plant.high, dtype=np.float64)
        self.action_space = spaces.MultiBinary(plant.actuators)
        self._states, self._left = None, 0

    def reset(self, *, seed=None, options=None):
        chosen = _chosen_state(self.plant, options, (3,))
        super().reset(seed=seed)
        self._states = (
            self.plant.begin(self.np_random, 1) if chosen is None else chosen[None]
        )
        self._left = self.plant.steps
        return self._states[0].copy(), {}

    def step(self, action):
        actions = _checked(action, (self.plant.actuators,))[None]
        if not self._left:
            raise gymnasium.error.ResetNeeded(
                "the episode is over, or has not begun: call reset() first"
            )
        self._states, rewards, info = self.plant.move(self._states, actions)
        self._left -= 1
        over, goes_on = self._left == 0, self.plant.goes_on
        info = {name: float(values[0]) for name, values in info.items()}
        ends = over and not goes_on, over and goes_on
        return self._states[0].copy(), float(rewards[0]), *ends, info


class ActuatorVectorEnv(VectorEnv):
    """Many plants of one kind at once, as a gymnasium vector environment.

    All episodes begin and end together; the step after the end begins the next ones
    (gymnasium's NEXT_STEP). Options and errors as in `ActuatorEnv`, with a first axis.
    """

    metadata = {"autoreset_mode": AutoresetMode.NEXT_STEP}

    def __init__(self, plant: Plant, num_envs: int):
        one = ActuatorEnv(plant)
        self.plant, self.num_envs = plant, _count("num_envs", num_envs)
        self.single_observation_space = one.observation_space
        self.single_action_space = one.action_space
        self.observation_space = batch_space(one.observation_space, num_envs)
        self.action_space = batch_space(one.action_space, num_envs)
        self._states, self._left = None, 0

    def reset(self, *, seed=None, options=None):
        chosen = _chosen_state(self.plant, options, (self.num_envs, 3))
        super().reset(seed=seed)
        self._states = (
            self.plant.begin(self.np_random, self.num_envs)
            if chosen is None
            else chosen
        )
        self._left = self.plant.steps
        return self._states.copy(), {}

    def step(self, actions):
        actions = _checked(actions, (self.num_envs, self.plant.actuators))
        if self._states is None:
            raise gymnasium.error.ResetNeeded(
                "the episodes have not begun: call reset() first"
            )
        nobody = np.zeros(self.num_envs, dtype=bool)
        if not self._left:
            observations, info = self.reset()
            return observations, np.zeros(self.num_envs), nobody, nobody.copy(), info
        self._states, rewards, info = self.plant.move(self._states, actions)
        self._left -= 1
        over, goes_on = np.full(self.num_envs, self._left == 0), self.plant.goes_on
        ends = (nobody, over) if goes_on else (over, nobody)
        return self._states.copy(), rewards, *ends, info


def _chosen_state(plant, options, shape):
    """The state that the options of `reset` name, or None."""
    if not options:
        return None
    if list(options) != ["state"]:
        raise ValueError(
            f"options may hold a state and nothing else, got {list(options)}"
        )
    states = _numbers(options["state"])
    if states.shape != shape:
        raise ValueError(f"state must have shape {shape}, got {states.shape}")
    if not ((plant.low <= states) & (states <= plant.high)).all():  # false for NaN too
        raise ValueError(
            f"state must lie between {plant.low} and {plant.high}, got {states}"
        )
    return states


def _checked(actions, shape):
    actions = np.asarray(actions)
    if actions.shape != shape:
        raise ValueError(f"an action must have shape {shape}, got {actions.shape}")
    valid = np.isin(actions, (0, 1))
    if not valid.all():
        raise ValueError(
            f"an action must hold only 0 (off) and 1 (on), got {actions[~valid][0]}"
        )
    return actions.astype(float)


def _check_instance(name, value, kind):
    if not isinstance(value, kind):
        raise ValueError(f"{name} must be an instance of {kind.__name__}, got {value}")


def combinations(actuators: int) -> Tensor:
    """All combinations of switches, (2^A, A) of 0.0 and 1.0, for A up to MOST_LISTED.

    In row i, switch j is bit j of i. Raises ValueError for another number of actuators.
    """
    _check_listed(actuators)
    return _switches(torch.arange(2**actuators), actuators).double()


def _check_listed(actuators):
    if _count("actuators", actuators) > MOST_LISTED:
        raise ValueError(
            f"actuators must be at most {MOST_LISTED} where all combinations are "
            f"listed, got {actuators}"
        )


def _switches(index, actuators):
    return index.unsqueeze(-1) >> torch.arange(actuators) & 1


class Policy:
    """A distribution over the combinations of A switches, given a network's `outputs`.

    A policy of your own is a subclass that adds `log_table`, `log_prob` and `sample`:

    outputs: (..., `width`), floating point; what comes back is of their type.
    log_prob(outputs, actions (..., A) of 0 and 1): log-probabilities (...).
    sample(outputs, uniforms (..., A) from [0, 1)): actions (..., A).
    log_table(outputs): log-probabilities (..., 2^A) of all combinations, in the order
    of `combinations`.
    The leading axes of outputs and of actions or uniforms broadcast.

    Raises ValueError where the shapes do not fit, outputs are not finite, an action is
    neither 0 nor 1, or a uniform lies outside [0, 1); and where more than MOST_LISTED
    actuators would have to be listed: for `log_table`, and for `best` and `entropy` of
    all policies but `Factorised` and `Grouped`.
    """

    def __init__(self, actuators: int):
        self.actuators = self.width = _count("actuators", actuators)

    def best(self, outputs: Tensor) -> Tensor:
        """The most probable combination, (..., A)."""
        index = self.log_table(outputs).argmax(-1)
        return _switches(index, self.actuators).to(outputs.dtype)

    def entropy(self, outputs: Tensor) -> Tensor:
        """In nats, (...)."""
        table = self.log_table(outputs)
        return Categorical(logits=table, validate_args=False).entropy()

    def _check(self, outputs, **switches):
        _check_width("outputs", outputs, self.width)
        if not outputs.is_floating_point():
            raise ValueError(f"outputs must be floating point, got {_kind(outputs)}")
        # Compared with NaN, every switch would be off, and nobody would notice.
        # Their sum is quicker to look at; it alone may overflow.
        if not (outputs.sum().isfinite() or outputs.isfinite().all()):
            raise ValueError("outputs must be finite, got NaN or infinity among them")
        for name, values in switches.items():
            _check_width(name, values, self.actuators)
            try:
                torch.broadcast_shapes(outputs.shape[:-1], values.shape[:-1])
            except RuntimeError:
                raise ValueError(
                    f"{name} must have leading axes that broadcast with those of "
                    f"outputs, {tuple(outputs.shape)}, got {tuple(values.shape)}"
                ) from None
            if name == "actions":
                valid, expected = (values == 0) | (values == 1), "be 0 (off) or 1 (on)"
            else:
                valid, expected = (values >= 0) & (values < 1), "lie in [0, 1)"
            if not valid.all():
                raise ValueError(f"{name} must {expected}, got {values[~valid][0]}")


def _kind(values):
    if isinstance(values, Tensor):
        return f"{values.dtype} of shape {tuple(values.shape)}"
    return type(values).__name__


def _check_width(name, values, width):
    if not isinstance(values, Tensor):
        raise ValueError(f"{name} must be a tensor, got {_kind(values)}")
    if values.ndim < 1 or values.shape[-1] != width:
        raise ValueError(
            f"{name} must have {width} numbers on the last axis, "
            f"got shape {tuple(values.shape)}"
        )


class Factorised(Policy):
    """Each switch for itself: a product of Bernoullis, with one logit for each."""

    def log_table(self, outputs):
        self._check(outputs)
        return self.log_prob(outputs.unsqueeze(-2), combinations(self.actuators))

    def log_prob(self, outputs, actions):
        self._check(outputs, actions=actions)
        # Minus the binary cross-entropy, also where the shapes broadcast.
        return (actions.to(outputs.dtype) * outputs - F.softplus(outputs)).sum(-1)

    def best(self, outputs):
        self._check(outputs)
        return (outputs > 0).to(outputs.dtype)

    def entropy(self, outputs):
        self._check(outputs)
        return Bernoulli(logits=outputs, validate_args=False).entropy().sum(-1)

    def sample(self, outputs, uniforms):
        self._check(outputs, uniforms=uniforms)
        return (uniforms < outputs.sigmoid()).to(outputs.dtype)


class Autoregressive(Policy):
    """One switch after another.

    The logit of switch j is b_j plus c_jk for each earlier switch k that is on. Of the
    A + A(A-1)/2 outputs the first A are b, the others c, row by row. A sigmoid belief
    network without hidden units (Neal 1992, doi:10.1016/0004-3702(92)90065-6) whose
    numbers depend on the observation.
    """

    def __init__(self, actuators: int):
        super().__init__(actuators)
        self.width = self.actuators * (self.actuators + 1) // 2

    def _row(self, outputs, j):
        """b_j (...) and c_jk (..., j) for the switches k before j."""
        start = self.actuators + j * (j - 1) // 2
        return outputs[..., j], outputs[..., start : start + j]

    def log_table(self, outputs):
        self._check(outputs)
        listed = combinations(self.actuators).to(outputs.dtype)
        table = outputs.new_zeros(*outputs.shape[:-1], 1)
        for j in range(self.actuators):  # each switch doubles the table
            bias, couplings = self._row(outputs, j)
            logits = bias.unsqueeze(-1) + couplings @ listed[: 2**j, :j].T
            off = table - F.softplus(logits)
            table = torch.cat([off, off + logits], -1)
        return table

    def log_prob(self, outputs, actions):
        self._check(outputs, actions=actions)
        actions = actions.to(outputs.dtype)
        total = 0
        for j in range(self.actuators):
            bias, couplings = self._row(outputs, j)
            logit = bias + (couplings * actions[..., :j]).sum(-1)
            total = total + actions[..., j] * logit - F.softplus(logit)
        return total

    def sample(self, outputs, uniforms):
        self._check(outputs, uniforms=uniforms)
        shape = torch.broadcast_shapes(outputs.shape[:-1], uniforms.shape[:-1])
        actions = outputs.new_zeros(*shape, self.actuators)
        for j in range(self.actuators):
            bias, couplings = self._row(outputs, j)
            logit = bias + (couplings * actions[..., :j]).sum(-1)
            actions[..., j] = uniforms[..., j] < logit.sigmoid()
        return actions


class Listed(Policy):
    """What policies share that give each combination a logit of its own."""

    def log_table(self, outputs):
        return self._logits(outputs).log_softmax(-1)

    def log_prob(self, outputs, actions):
        self._check(outputs, actions=actions)
        index = (actions.long() << torch.arange(self.actuators)).sum(-1, keepdim=True)
        table = self.log_table(outputs)
        # gather itself does not broadcast.
        rows = torch.broadcast_shapes(table.shape[:-1], index.shape[:-1])
        return table.expand(*rows, -1).gather(-1, index.expand(*rows, 1))[..., 0]

    def sample(self, outputs, uniforms):
        self._check(outputs, uniforms=uniforms)
        cumulated = self._logits(outputs).softmax(-1).cumsum(-1)
        # Never a combination of probability 0.
        drawn = cumulated <= uniforms[..., :1] * cumulated[..., -1:]
        return _switches(drawn.sum(-1), self.actuators).to(outputs.dtype)


class Joint(Listed):
    """All switches together: one softmax over the 2^A combinations.

    Raises ValueError for more than MOST_LISTED actuators.
    """

    def __init__(self, actuators: int):
        _check_listed(actuators)
        super().__init__(actuators)
        self.width = 2**self.actuators

    def _logits(self, outputs):
        self._check(outputs)
        return outputs


class Grouped(Policy):
    """One softmax for each group of switches; the groups are independent.

    groups: lists of switches, each switch in one of them, as [[0, 1, 2], [3, 4, 5]].
    In the order of the groups, each has an output for every combination of its own
    switches (in the order of `combinations`). Single switches would be `Factorised`,
    all in one group `Joint`; in gymnasium it is `MultiDiscrete`.
    Raises ValueError where a switch from 0 on is missing or stands twice, and for a
    group of more than MOST_LISTED.
    """

    def __init__(self, groups: Sequence[Sequence[int]]):
        self.groups = [list(group) for group in groups]
        switches = sorted(switch for group in self.groups for switch in group)
        if switches != list(range(len(switches))):
            raise ValueError(
                f"groups must hold each switch from 0 on once, got {groups}"
            )
        super().__init__(len(switches))
        self.joints = [Joint(len(group)) for group in self.groups]
        self.width = sum(joint.width for joint in self.joints)

    def _softmaxes(self, outputs):
        """Each group with its softmax and the logits of its combinations."""
        widths = [joint.width for joint in self.joints]
        return zip(self.groups, self.joints, outputs.split(widths, -1))

    def log_table(self, outputs):
        self._check(outputs)
        return self.log_prob(outputs.unsqueeze(-2), combinations(self.actuators))

    def log_prob(self, outputs, actions):
        self._check(outputs, actions=actions)
        return sum(
            joint.log_prob(logits, actions[..., group])
            for group, joint, logits in self._softmaxes(outputs)
        )

    def best(self, outputs):
        self._check(outputs)
        actions = outputs.new_empty(*outputs.shape[:-1], self.actuators)
        for group, joint, logits in self._softmaxes(outputs):
            actions[..., group] = joint.best(logits)
        return actions

    def entropy(self, outputs):
        self._check(outputs)
        return sum(
            joint.entropy(logits) for _, joint, logits in self._softmaxes(outputs)
        )

    def sample(self, outputs, uniforms):
        self._check(outputs, uniforms=uniforms)
        shape = torch.broadcast_shapes(outputs.shape[:-1], uniforms.shape[:-1])
        actions = outputs.new_empty(*shape, self.actuators)
        for group, joint, logits in self._softmaxes(outputs):
            actions[..., group] = joint.sample(logits, uniforms[..., group])
        return actions


class Masked(Listed):
    """`policy` without the combinations that are not `allowed`, scaled up to one.

    allowed: 2^A bools. A policy that is masked already keeps its mask as well.
    Raises ValueError for a mask of another shape or type, or one that allows nothing,
    and for more than MOST_LISTED actuators.
    """

    def __init__(self, policy: Policy, allowed: Tensor):
        _check_instance("policy", policy, Policy)
        _check_listed(policy.actuators)
        allowed = torch.as_tensor(allowed)
        if allowed.dtype != torch.bool or allowed.shape != (2**policy.actuators,):
            raise ValueError(
                f"allowed must be {2**policy.actuators} bools, got {_kind(allowed)}"
            )
        if isinstance(policy, Masked):
            policy, allowed = policy.policy, allowed & policy.allowed
        if not allowed.any():
            raise ValueError(
                "allowed must leave at least one combination that the policy allows, "
                "got none"
            )
        super().__init__(policy.actuators)
        self.policy, self.allowed, self.width = policy, allowed, policy.width

    def _logits(self, outputs):
        return self.policy.log_table(outputs).masked_fill(~self.allowed, -torch.inf)


def roll_out(
    plant: Plant,
    policy: Policy,
    model: nn.Module,
    states: Tensor,
    uniforms: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Episodes of S models at once, from states (S, N, 3) float64.

    model: see `helpers.seeds.stack`; it is given the observations scaled to -1..1.
    uniforms (S, T, N, A): the chance by which actions are drawn. Without, the most
    probable combination is taken.
    Returns observations (S, T + 1, N, 3), actions (S, T, N, A), rewards (S, T, N).

    Raises ValueError where states, uniforms or the model's outputs have another shape
    or type, states lie outside the plant's range, or policy and plant have different
    numbers of actuators.
    """
    _check_pair(plant, policy)
    _check_width("states", states, 3)
    if states.ndim != 3 or states.dtype != torch.float64:
        raise ValueError(
            f"states must be float64 of shape (seeds, episodes, 3), got {_kind(states)}"
        )
    low, high = torch.from_numpy(plant.low), torch.from_numpy(plant.high)
    inside = (low <= states) & (states <= high)  # false for NaN too
    if not inside.all():
        raise ValueError(
            f"states must lie between {plant.low} and {plant.high}, "
            f"got {states[~inside][0]}"
        )
    if uniforms is not None:
        seeds, episodes, _ = states.shape
        shape = (seeds, plant.steps, episodes, plant.actuators)
        if not isinstance(uniforms, Tensor) or uniforms.shape != shape:
            raise ValueError(
                f"uniforms must be a tensor of shape {shape}, got {_kind(uniforms)}"
            )
        uniforms = uniforms.unsqueeze(3)
    with torch.no_grad():
        played = list(_play(plant, policy, model, states.unsqueeze(2), uniforms))
    _, actions, visited, rewards = (torch.stack(part, 1) for part in zip(*played))
    observations = torch.cat([states.unsqueeze(1), visited.squeeze(3)], 1)
    return observations, actions.squeeze(3), rewards.squeeze(3)


def _play(plant, policy, model, states, uniforms):
    """The steps of episodes: outputs, actions, next states and rewards of each.

    Episodes begin in states (S, G, 1, 3), as many in each as uniforms (S, T, G, B, A)
    have: for all B of them, the first outputs are computed once.
    """
    for t in range(plant.steps):
        inputs = scaled(plant, states).flatten(1, 2)
        outputs = model(inputs).unflatten(1, states.shape[1:3])
        known = outputs.detach()
        if uniforms is None:
            actions = policy.best(known)
        else:
            actions = policy.sample(known, uniforms[:, t])
        shape = actions.shape[:-1]
        before = states.expand(*shape, 3).flatten(0, 2)
        moved, earned, _ = plant.move(before.numpy(), actions.flatten(0, 2).numpy())
        states = torch.from_numpy(moved).view(*shape, 3)
        yield outputs, actions, states, torch.from_numpy(earned).view(shape)


def _check_pair(plant, policy):
    _check_instance("plant", plant, Plant)
    _check_instance("policy", policy, Policy)
    if policy.actuators != plant.actuators:
        raise ValueError(
            f"policy must have {plant.actuators} actuators, as the plant has, "
            f"got {policy.actuators}"
        )


def scaled(plant: Plant, observations: Tensor) -> Tensor:
    """Observations (..., 3) as a network gets them.

    From -1, the least that the plant can show, to 1, the most.
    """
    low, high = torch.from_numpy(plant.low), torch.from_numpy(plant.high)
    return (observations - low) * (2 / (high - low)) - 1


def round_gradients(model: nn.Module) -> None:
    """Round the gradients of all parameters to multiples of GRID, in place.

    Call it before the step of an optimiser such as Adam, which divides a gradient by
    its size: where a gradient ought to be 0, what is left is a rounding error, which
    differs between machines, and which Adam makes as large as any other step. Rounded,
    it is 0 on all of them, and the same actions are drawn.
    """
    for parameter in model.parameters():
        if parameter.grad is not None:
            parameter.grad.div_(GRID).round_().mul_(GRID)


def reinforce(
    plant: Plant,
    policy: Policy,
    make_model: Callable[[], nn.Sequential],
    *,
    seeds: Sequence[int],
    updates: int,
    episodes: int,
    optimizer: Callable,
    entropy: float = 0.0,
) -> tuple[nn.Module, Tensor]:
    """Policy gradient, one model per seed: the models as one, returns (updates, S).

    REINFORCE (Williams 1992, doi:10.1007/BF00992696). `returns` are the mean sums of
    rewards over an episode, as the policy acted before each update.

    make_model, optimizer, seeds: see `helpers.seeds.train`. The model has three inputs
        and `policy.width` outputs.
    episodes: how many are played before each update. SIBLINGS of them begin in the same
        state, and an action counts by how much more was earned from it on than in the
        mean of all SIBLINGS (close to Kool, van Hoof & Welling 2019,
        openreview.net/forum?id=r1lgTGL5DE).
    entropy: how much an update cares for the entropy of the policy, in units of reward
        per nat and step.

    Raises ValueError where `episodes` is not a multiple of SIBLINGS, `updates` is below
    1, `entropy` or the weights at the end are not finite, or plant, policy and model do
    not fit each other.
    """
    _check_pair(plant, policy)
    _count("updates", updates)
    if _count("episodes", episodes) % SIBLINGS:
        raise ValueError(f"episodes must be a multiple of {SIBLINGS}, got {episodes}")
    if not math.isfinite(entropy):
        raise ValueError(f"entropy must be finite, got {entropy}")
    model = stack(make_model, seeds)
    step = optimizer(model.parameters())
    chance = [np.random.default_rng(seed) for seed in seeds]
    groups, draws = episodes // SIBLINGS, (plant.steps, episodes, plant.actuators)
    returns = []
    for _ in range(updates):
        starts = np.stack([plant.begin(random, groups) for random in chance])
        uniforms = np.stack([random.random(draws) for random in chance])
        states = torch.from_numpy(starts).unsqueeze(2)
        siblings = torch.from_numpy(uniforms).unflatten(2, (groups, SIBLINGS))
        log_probs, rewards, bonus = [], [], 0.0
        for outputs, actions, _, earned in _play(
            plant, policy, model, states, siblings
        ):
            log_probs.append(policy.log_prob(outputs, actions))
            rewards.append(earned)
            if entropy:
                bonus = bonus + entropy * policy.entropy(outputs).mean((1, 2))
        rewards = torch.stack(rewards, 1)
        to_come = rewards.flip(1).cumsum(1).flip(1)
        advantages = to_come - to_come.mean(-1, keepdim=True)
        gain = (advantages * torch.stack(log_probs, 1)).mean((1, 2, 3))
        step.zero_grad()
        # A sum over seeds: each model gets its own gradient.
        (-gain - bonus / plant.steps).sum().backward()
        round_gradients(model)
        step.step()
        returns.append(rewards.sum(1).mean((1, 2)))
    if not all(weight.isfinite().all() for weight in model.parameters()):
        raise ValueError(
            "the weights are NaN or infinite after training: lower the learning rate"
        )
    return model.requires_grad_(False), torch.stack(returns)
