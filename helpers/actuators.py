"""Actuators: plants that are driven by on/off switches, policies over the combinations of switches, and how policies learn.

A plant is written once, for many states at a time; the gymnasium environments, one at a time or many, only wrap it.
Explained in the chapter "Six actuators".
"""

import gymnasium
import numpy as np
import torch
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv
from torch.nn import functional as F

from helpers.seeds import stack

SIBLINGS = 8  # episodes that `train` begins in the same state


class Plant:
    """What the plants share. A plant of your own adds `steps`, `goes_on` (is an episode only cut?), `low`, `high`, `actuators` and `move`.

    move(states (N, 3), actions (N, A) of 0.0 and 1.0): the next states, the rewards (N,), and what else is to be known of the step, a
    dictionary of arrays (N,). States are observed as they are, and lie between `low` and `high`.
    """

    def begin(self, random, count):
        """States (count, 3) in which episodes begin, drawn by a NumPy generator."""
        return random.uniform(self.low, self.high, (count, 3))


class Additive(Plant):
    """Every switch counts by itself: the reward, 0 to 1, is the share of switches that are as the observation wants them.

    Switch j is wanted on where the observation (3 numbers from -1 to 1) lies on the positive side of a fixed plane through 0.
    """

    steps, goes_on = 1, False
    low, high = -np.ones(3), np.ones(3)

    def __init__(self, actuators=6):
        self.actuators = actuators
        self.planes = np.random.default_rng(0).standard_normal((actuators, 3))

    def move(self, states, actions):
        return states, (actions == (states @ self.planes.T > 0)).mean(-1), {}


class Interlock(Plant):
    """Two banks of three switches that must go on together; the observation (3 numbers from -1 to 1) says nothing.

    A bank with 0, 1, 2 or 3 switches on earns 0.5, 0.4, -1 or 1; the reward is the mean of the two. A team game in which good joint
    choices look bad to each player, as the climbing game of Claus & Boutilier 1998 (AAAI, "The dynamics of reinforcement learning ...").
    """

    steps, goes_on, actuators = 1, False, 6
    low, high = -np.ones(3), np.ones(3)
    earns = np.array([0.5, 0.4, -1.0, 1.0])

    def move(self, states, actions):
        return (
            states,
            self.earns[actions.reshape(-1, 2, 3).sum(-1).astype(int)].mean(-1),
            {},
        )


class Tanks(Plant):
    """Three tanks in a row, 1 m high and 1 m2 wide, and six valves: keep the levels (m, also the observation) at `targets`.

    Valves: feed of the first and of the last tank, pipe between 1 and 2, pipe between 2 and 3, drain of the first and of the last.
    Feeds give 10 litres a second; pipes and drains are openings of 100 cm2 through which water flows with Torricelli's
    speed sqrt(2 g h) times 0.6. A valve stays as it is set for 10 s, an episode is 25 such steps, and the reward of a step is minus the
    mean distance of the levels from the targets (m). What is fed, drained or spilled over the rim in a step (m3) is in the step's info.
    """

    steps, goes_on, actuators = 25, True, 6
    low, high = np.zeros(3), np.ones(3)
    valves = ("feed 1", "feed 3", "pipe 1-2", "pipe 2-3", "drain 1", "drain 3")
    slices, feed, opening = (
        5,
        0.02,
        0.012 * np.sqrt(2 * 9.81),
    )  # per slice of 2 s: m, and m per root of m

    def __init__(self, targets=(0.7, 0.5, 0.3)):
        self.targets = np.asarray(targets, dtype=float)

    def move(self, states, actions):
        levels, valves = (
            states.T.copy(),
            np.ascontiguousarray(actions.T),
        )  # tanks and valves first: their rows are contiguous
        ends, feeds, pipes, drains = (
            levels[::2],
            self.feed * valves[:2],
            self.opening * valves[2:4],
            self.opening * valves[4:],
        )
        drained, spilled = np.zeros(len(states)), np.zeros(len(states))
        for _ in range(self.slices):
            out = np.minimum(
                drains * np.sqrt(ends), ends
            )  # no tank gives more than it has
            ends -= out
            drained += out.sum(0)
            for tank, pipe in enumerate(pipes):
                difference = levels[tank] - levels[tank + 1]
                flow = np.copysign(
                    np.minimum(pipe * np.sqrt(abs(difference)), abs(difference) / 2),
                    difference,
                )  # at most until level
                levels[tank] -= flow
                levels[tank + 1] += flow
            ends += feeds
            over = np.maximum(levels - 1, 0)
            levels -= over
            spilled += over.sum(0)
        info = {
            "fed": self.slices * feeds.sum(0),
            "drained": drained,
            "spilled": spilled,
        }
        return levels.T.copy(), -abs(levels.T - self.targets).mean(-1), info


class ActuatorEnv(gymnasium.Env):
    """One plant as a gymnasium environment: observation `Box(3)`, action `MultiBinary`.

    reset(options={"state": array of shape (3,)}) begins in that state instead of a drawn one.
    Raises ValueError for an action or a state that is not valid, and ResetNeeded after the end; the plant is then left as it was.
    """

    def __init__(self, plant):
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
        return (
            self._states[0].copy(),
            float(rewards[0]),
            over and not goes_on,
            over and goes_on,
            info,
        )


class ActuatorVectorEnv(VectorEnv):
    """Many plants of one kind at once, as a gymnasium vector environment; all episodes begin and end together.

    The step after the end begins the next episodes (gymnasium's NEXT_STEP). Options and errors as in `ActuatorEnv`, with a leading axis.
    """

    metadata = {"autoreset_mode": AutoresetMode.NEXT_STEP}

    def __init__(self, plant, num_envs):
        one = ActuatorEnv(plant)
        self.plant, self.num_envs = plant, num_envs
        self.single_observation_space, self.single_action_space = (
            one.observation_space,
            one.action_space,
        )
        self.observation_space = gymnasium.vector.utils.batch_space(
            one.observation_space, num_envs
        )
        self.action_space = gymnasium.vector.utils.batch_space(
            one.action_space, num_envs
        )
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
        return (
            self._states.copy(),
            rewards,
            nobody if goes_on else over,
            over if goes_on else nobody,
            info,
        )


def _chosen_state(plant, options, shape):
    """The state that the options of `reset` name, or None."""
    if not options:
        return None
    if list(options) != ["state"]:
        raise ValueError(
            f"options may hold a state and nothing else, got {list(options)}"
        )
    states = np.array(options["state"], dtype=float)
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
    if not np.isin(actions, (0, 1)).all():
        raise ValueError(
            f"an action must hold only 0 (off) and 1 (on), got {actions[~np.isin(actions, (0, 1))][0]}"
        )
    return actions.astype(float)


def combinations(actuators):
    """All combinations of switches, (2^A, A) of 0.0 and 1.0. In row i, switch j is bit j of i."""
    return (torch.arange(2**actuators)[:, None] >> torch.arange(actuators) & 1).double()


class Policy:
    """A distribution over the combinations of A switches, given the `outputs` (..., `width`) of a network.

    log_prob(outputs, actions (..., A) of 0 and 1): log-probabilities (...).
    sample(outputs, uniforms (..., A), drawn from [0, 1)): actions (..., A).
    Raises ValueError where the shapes do not fit, outputs are not finite, or an action is neither 0 nor 1.
    """

    def __init__(self, actuators):
        self.actuators, self.width = actuators, actuators

    def log_table(self, outputs):
        """Log-probabilities (..., 2^A) of all combinations, in the order of `combinations`."""
        self._check(outputs)
        return self.log_prob(outputs.unsqueeze(-2), combinations(self.actuators))

    def best(self, outputs):
        """The most probable combination, (..., A)."""
        return combinations(self.actuators)[self.log_table(outputs).argmax(-1)]

    def entropy(self, outputs):
        """In nats, (...)."""
        log_table = self.log_table(outputs)
        return -(log_table.exp() * log_table.clamp(min=-1e9)).sum(
            -1
        )  # where the probability is 0 the product is 0, not NaN

    def _check(self, outputs, **switches):
        if outputs.ndim < 1 or outputs.shape[-1] != self.width:
            raise ValueError(
                f"outputs must have {self.width} numbers on the last axis, got shape {tuple(outputs.shape)}"
            )
        if (
            not outputs.sum().isfinite()
        ):  # compared with NaN, every switch would be off, and nobody would notice
            raise ValueError("outputs must be finite, got NaN or infinity among them")
        for name, values in switches.items():
            if values.ndim < 1 or values.shape[-1] != self.actuators:
                raise ValueError(
                    f"{name} must have {self.actuators} numbers on the last axis, got shape {tuple(values.shape)}"
                )
            if name == "actions" and not ((values == 0) | (values == 1)).all():
                raise ValueError(
                    f"actions must be 0 (off) or 1 (on), got {values[(values != 0) & (values != 1)][0]}"
                )


class Factorised(Policy):
    """Each switch for itself: a product of Bernoullis, with one logit for each switch."""

    def log_prob(self, outputs, actions):
        self._check(outputs, actions=actions)
        return (actions * outputs - F.softplus(outputs)).sum(
            -1
        )  # minus the BCE, also where the shapes broadcast

    def best(self, outputs):
        self._check(outputs)
        return (outputs > 0).double()

    def sample(self, outputs, uniforms):
        self._check(outputs, uniforms=uniforms)
        return (uniforms < outputs.sigmoid()).double()


class Joint(Policy):
    """All switches together: one softmax over the 2^A combinations."""

    def __init__(self, actuators):
        super().__init__(actuators)
        self.width = 2**actuators

    def log_table(self, outputs):
        self._check(outputs)
        return outputs.log_softmax(-1)

    def log_prob(self, outputs, actions):
        self._check(outputs, actions=actions)
        index = (actions.long() << torch.arange(self.actuators)).sum(-1, keepdim=True)
        log_table = self.log_table(outputs)
        rows = torch.broadcast_shapes(
            log_table.shape[:-1], index.shape[:-1]
        )  # gather itself does not broadcast
        return log_table.expand(*rows, -1).gather(-1, index.expand(*rows, 1))[..., 0]

    def sample(self, outputs, uniforms):
        self._check(outputs, uniforms=uniforms)
        cumulated = self.log_table(outputs).exp().cumsum(-1)
        index = (cumulated <= uniforms[..., :1] * cumulated[..., -1:]).sum(
            -1
        )  # never a combination of probability 0
        return combinations(self.actuators)[index]


class Autoregressive(Policy):
    """One switch after another: the logit of switch j is b_j plus c_jk for each earlier switch k that is on.

    Of the A + A(A-1)/2 outputs the first A are b, the others c, row by row. A sigmoid belief network without hidden units
    (Neal 1992, doi:10.1016/0004-3702(92)90065-6) whose numbers depend on the observation.
    """

    def __init__(self, actuators):
        super().__init__(actuators)
        self.width = actuators * (actuators + 1) // 2
        self.rows, self.columns = torch.tril_indices(actuators, actuators, -1)

    def _parts(self, outputs):
        couplings = outputs.new_zeros(
            *outputs.shape[:-1], self.actuators, self.actuators
        )
        couplings[..., self.rows, self.columns] = outputs[..., self.actuators :]
        return outputs[..., : self.actuators], couplings

    def log_table(self, outputs):
        self._check(outputs)
        return self._rows(outputs, combinations(self.actuators))

    def log_prob(self, outputs, actions):
        self._check(outputs, actions=actions)
        return self._rows(outputs, actions.unsqueeze(-2).to(outputs.dtype))[..., 0]

    def _rows(self, outputs, actions):
        """Log-probabilities (..., R) of R actions (..., R, A) for each row of outputs: one matrix product for all of them."""
        biases, couplings = self._parts(outputs)
        logits = biases.unsqueeze(-2) + actions @ couplings.mT
        return (actions * logits - F.softplus(logits)).sum(-1)

    def sample(self, outputs, uniforms):
        self._check(outputs, uniforms=uniforms)
        biases, couplings = self._parts(outputs)
        actions = torch.zeros_like(uniforms)
        for j in range(self.actuators):
            logits = biases[..., j] + (couplings[..., j, :] * actions).sum(-1)
            actions[..., j] = uniforms[..., j] < logits.sigmoid()
        return actions


class Masked(Joint):
    """`policy` with the combinations that are not `allowed` (a bool for each, 2^A) taken out, and the rest scaled up to one.

    Raises ValueError for a mask of another shape or type, or one that allows nothing.
    """

    def __init__(self, policy, allowed):
        allowed = torch.as_tensor(allowed)
        if (
            allowed.dtype != torch.bool
            or allowed.shape != (2**policy.actuators,)
            or not allowed.any()
        ):
            raise ValueError(
                f"allowed must be {2**policy.actuators} bools, at least one of them true, got {allowed}"
            )
        self.policy, self.allowed, self.actuators, self.width = (
            policy,
            allowed,
            policy.actuators,
            policy.width,
        )

    def log_table(self, outputs):
        return (
            self.policy.log_table(outputs)
            .masked_fill(~self.allowed, -torch.inf)
            .log_softmax(-1)
        )


def roll_out(plant, policy, model, states, uniforms=None):
    """Episodes of S models at once, from states (S, N, 3) float64: observations (S, T + 1, N, 3), actions (S, T, N, A), rewards (S, T, N).

    model: see `helpers.seeds.stack`; it is given the observations scaled to -1..1.
    uniforms (S, T, N, A): the chance by which actions are drawn. Without, the most probable combination is taken.
    """
    observations, actions, rewards = [states], [], []
    with torch.no_grad():
        for t in range(plant.steps):
            outputs = model(scaled(plant, observations[-1]))
            actions.append(
                policy.best(outputs)
                if uniforms is None
                else policy.sample(outputs, uniforms[:, t])
            )
            moved, earned, _ = plant.move(
                observations[-1].flatten(0, 1).numpy(),
                actions[-1].flatten(0, 1).numpy(),
            )
            observations.append(torch.from_numpy(moved).view_as(states))
            rewards.append(torch.from_numpy(earned).view(states.shape[:2]))
    return (
        torch.stack(observations, 1),
        torch.stack(actions, 1),
        torch.stack(rewards, 1),
    )


def scaled(plant, observations):
    """Observations (..., 3) as a network gets them: from -1, the least that the plant can show, to 1, the most."""
    low, high = torch.from_numpy(plant.low), torch.from_numpy(plant.high)
    return 2 * (observations - low) / (high - low) - 1


def train(
    plant, policy, make_model, *, seeds, updates, episodes, optimizer, entropy=0.0
):
    """Policy gradient (REINFORCE, Williams 1992, doi:10.1007/BF00992696), one model per seed, all at once: (model, returns (updates, S)).

    make_model, optimizer, seeds: see `helpers.seeds.train`. The model has three inputs and `policy.width` outputs.
    episodes: how many are played before each update. SIBLINGS of them begin in the same state, and an action counts by how much more was
        earned from it on than in the mean of all SIBLINGS (close to Kool, van Hoof & Welling 2019, openreview.net/forum?id=r1lgTGL5DE).
    entropy: how much an update cares for the entropy of the policy, in units of reward per nat and step.
    returns: the mean sum of rewards over an episode, as the policy acted before each update.

    Raises ValueError where `episodes` is not a multiple of SIBLINGS, `updates` is below 1, or the model does not fit the policy.
    """
    if updates < 1:
        raise ValueError(f"updates must be at least 1, got {updates}")
    if episodes < 1 or episodes % SIBLINGS:
        raise ValueError(f"episodes must be a multiple of {SIBLINGS}, got {episodes}")
    model = stack(make_model, seeds)
    step = optimizer(model.parameters())
    chance = [np.random.default_rng(seed) for seed in seeds]
    returns = []
    for _ in range(updates):
        states = torch.from_numpy(
            np.stack([plant.begin(random, episodes // SIBLINGS) for random in chance])
        ).repeat_interleave(SIBLINGS, 1)
        uniforms = torch.from_numpy(
            np.stack(
                [
                    random.random((plant.steps, episodes, plant.actuators))
                    for random in chance
                ]
            )
        )
        observations, actions, rewards = roll_out(
            plant, policy, model, states, uniforms
        )
        to_come = rewards.flip(1).cumsum(1).flip(1).unflatten(-1, (-1, SIBLINGS))
        advantages = (to_come - to_come.mean(-1, keepdim=True)).flatten(-2)
        outputs = model(scaled(plant, observations[:, :-1]).flatten(1, 2)).unflatten(
            1, advantages.shape[1:]
        )
        gain = advantages * policy.log_prob(outputs, actions)
        if entropy:
            gain = gain + entropy * policy.entropy(outputs)
        step.zero_grad()
        (
            -gain.mean((1, 2)).sum()
        ).backward()  # a sum over seeds: each model gets its own gradient
        step.step()
        returns.append(rewards.sum(1).mean(-1))
    return model.requires_grad_(False), torch.stack(returns)
