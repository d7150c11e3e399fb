"""Stable-Baselines3's PPO on the tanks, as `make ppo` measures it: half an hour.

The outside check of the chapter on six actuators. PPO is taken as it comes, with its
default settings and its own Bernoulli distribution for MultiBinary actions, and plays
longer than the chapter's policies; its scores after each tenth are kept. The only
choice is to play in 16 environments at once, which leaves 2,048 steps between updates
as by default.
"""

import json
from pathlib import Path

import numpy as np
import stable_baselines3
import torch
from stable_baselines3 import PPO
from stable_baselines3.common.env_util import make_vec_env

from helpers.actuators import ActuatorEnv, Tanks

TABLE = Path(__file__).resolve().parent.parent / "helpers" / "data" / "ppo_tanks.json"
SEEDS, STEPS, CHECKPOINTS, STARTS, ENVIRONMENTS = 8, 327_680, 10, 200, 16


def distance(model, plant, states):
    """Mean distance of levels from targets (cm) under the most probable actions."""
    rewards = []
    for _ in range(plant.steps):
        actions, _ = model.predict(states, deterministic=True)
        states, earned, _ = plant.move(states, actions.astype(float))
        rewards.append(earned)
    return -100 * float(np.mean(rewards))


def learn(seed, steps, checkpoints):
    """The distances (cm) after each of `checkpoints` equal parts of `steps`.

    They are measured from states that no other seed has.
    """
    plant = Tanks()
    states = plant.begin(np.random.default_rng(10_000 + seed), STARTS)
    environments = make_vec_env(
        lambda: ActuatorEnv(plant), n_envs=ENVIRONMENTS, seed=seed
    )
    model = PPO(
        "MlpPolicy", environments, n_steps=2048 // ENVIRONMENTS, seed=seed, device="cpu"
    )
    distances = []
    for _ in range(checkpoints):
        model.learn(steps // checkpoints, reset_num_timesteps=False)
        distances.append(round(distance(model, plant, states), 3))
    return distances, model.num_timesteps


def main():
    torch.set_num_threads(
        1
    )  # for a network this small, more threads only get into each other's way
    curves = []
    for seed in range(SEEDS):
        curve, played = learn(seed, STEPS, CHECKPOINTS)
        curves.append(curve)
        print(f"seed {seed}: {curve[-1]:.2f} cm after {played:,} steps", flush=True)
    table = {
        "stable_baselines3": stable_baselines3.__version__,
        "steps": played,
        "distance_cm": curves,
    }
    TABLE.write_text(json.dumps(table) + "\n", "utf-8")


if __name__ == "__main__":
    main()
