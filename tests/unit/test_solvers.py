"""Solvers: schedules and trajectories of golden case D, order of convergence, the promises of the loop, error texts."""

import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from scail_model.solvers import SOLVERS, integrate, make_schedule, make_stepper

GOLDEN = Path(__file__).parents[1] / "golden"
SCHEDULES = load_file(GOLDEN / "D1_schedules.safetensors")
TRAJECTORIES = load_file(GOLDEN / "D2_trajectories.safetensors")
DTYPES = {"f32": torch.float32, "f64": torch.float64}


def golden_settings(tensors, ending):
    """(solver, steps, shift) of every key solver.steps<n>.shift<s><ending>."""
    tags = [key.removesuffix(ending).split(".") for key in tensors if key.endswith(ending)]
    return [(solver, int(steps[len("steps") :]), float(shift[len("shift") :])) for solver, steps, shift in tags]


@pytest.mark.parametrize(("solver", "steps", "shift"), golden_settings(SCHEDULES, ".sigmas"))
def test_schedule_is_the_official_one(solver, steps, shift):
    sigmas, timesteps = make_schedule(solver, steps, shift)
    tag = f"{solver}.steps{steps}.shift{shift:g}"
    torch.testing.assert_close(sigmas, SCHEDULES[f"{tag}.sigmas"], rtol=0, atol=1e-7)
    assert timesteps.dtype == SCHEDULES[f"{tag}.timesteps"].dtype
    assert torch.equal(timesteps, SCHEDULES[f"{tag}.timesteps"])


def test_golden_settings_cover_all_solvers():
    assert {solver for solver, _, _ in golden_settings(SCHEDULES, ".sigmas")} == set(SOLVERS)
    assert {solver for solver, _, _ in golden_settings(TRAJECTORIES, ".f32.final")} == set(SOLVERS)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("solver", "steps", "shift"), golden_settings(TRAJECTORIES, ".f32.final"))
def test_trajectory_is_the_official_one(solver, steps, shift, dtype):
    matrix, offset, noise = (TRAJECTORIES[name].to(DTYPES[dtype]) for name in ("A", "b", "noise"))
    states = []
    final = integrate(
        solver,
        lambda x, t: x @ matrix.T + offset * (t / 1000),
        noise,
        steps,
        shift,
        callback=lambda step, x, denoised: states.append(x),
    )
    tag = f"{solver}.steps{steps}.shift{shift:g}.{dtype}"
    assert final.dtype == DTYPES[dtype]
    assert len(states) == steps
    torch.testing.assert_close(final, TRAJECTORIES[f"{tag}.final"], rtol=0, atol=5e-6)
    if f"{tag}.x_after_each_step" in TRAJECTORIES:  # kept for the short runs only
        torch.testing.assert_close(torch.stack(states), TRAJECTORIES[f"{tag}.x_after_each_step"], rtol=0, atol=5e-6)


RATE = torch.tensor([0.5, -0.7, 1.3], dtype=torch.float64)
DRIFT = torch.tensor([0.2, -1.0, 0.4], dtype=torch.float64)
START = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)


def velocity(x, timestep=None):
    """dx/dsigma = RATE * x + DRIFT, element by element."""
    return RATE * x + DRIFT


def exact(distance):
    """The solution, `distance` in sigma below START."""
    return (START + DRIFT / RATE) * torch.exp(-RATE * distance) - DRIFT / RATE


def drive(solver, sigmas):
    """A loop of one's own around a stepper."""
    stepper, x = make_stepper(solver, sigmas), START
    for i, sigma in enumerate(sigmas[:-1]):
        x = stepper.step(x, x - sigma * velocity(x), i)
    return x


# The corrector lifts UniPC by one order, which shows where the step sizes in lambda are even.
@pytest.mark.parametrize(("solver", "order"), [("euler", 1), ("dpm++", 2), ("unipc", 3)])
def test_order_of_convergence(solver, order):
    coarse, fine = (
        (drive(solver, torch.linspace(0.9, 0.3, steps + 1, dtype=torch.float64)) - exact(0.6)).abs().max()
        for steps in (80, 160)
    )
    assert math.log2(coarse / fine) == pytest.approx(order, abs=0.06)


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("shift", [1.0, 3.0])
def test_whole_run_reaches_the_solution(solver, shift):
    start = make_schedule(solver, 160, shift)[0][0].item()
    error = (integrate(solver, velocity, START, 160, shift) - exact(start)).abs().max()
    assert error < (3e-3 if solver == "euler" else 3e-4)


@pytest.mark.parametrize(("solver", "bound"), [("euler", 1e-2), ("dpm++", 1e-4), ("unipc", 1e-4)])
@pytest.mark.parametrize("end", [0.0, 0.2])
def test_schedules_of_others_work(solver, bound, end):
    # ComfyUI's start at sigma 1, where lambda is infinite, also for UniPC, and may stop before 0.
    final = drive(solver, torch.linspace(1, end, 81, dtype=torch.float64))
    torch.testing.assert_close(final, exact(1 - end), rtol=0, atol=bound)


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("steps", [1, 2, 3])
def test_short_runs_end_on_the_last_estimate(solver, steps):
    denoised = []
    final = integrate(solver, velocity, START, steps, 5.0, callback=lambda step, x, estimate: denoised.append(estimate))
    torch.testing.assert_close(final, denoised[-1], rtol=0, atol=1e-15)


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("pinned", [False, True])
def test_order_of_calls(solver, pinned):
    events = []

    def record_velocity(x, timestep):
        events.append(("velocity", timestep))
        return velocity(x)

    def pin(x):
        events.append(("pin", None))
        return x

    integrate(
        solver,
        record_velocity,
        START,
        4,
        3.0,
        pin=pin if pinned else None,
        callback=lambda step, x, denoised: events.append(("callback", step)),
    )
    step = ["velocity", "pin", "callback"] if pinned else ["velocity", "callback"]
    assert [name for name, _ in events] == ["pin"] * pinned + step * 4
    assert [value for name, value in events if name == "callback"] == [0, 1, 2, 3]
    timesteps = [value for name, value in events if name == "velocity"]
    assert all(timestep.ndim == 0 for timestep in timesteps)
    assert torch.equal(torch.stack(timesteps), make_schedule(solver, 4, 3.0)[1])
    assert timesteps[0].dtype == (torch.float32 if solver == "euler" else torch.int64)


@pytest.mark.parametrize("solver", SOLVERS)
def test_history_stays_pinned(solver):
    noise, history = torch.randn(1, 4, 5, 2, 2), torch.randn(1, 4, 2, 2, 2)
    kept, seen, shown = noise.clone(), [], []

    def pin(x):
        return torch.cat([history, x[:, :, 2:]], dim=2)

    def model(x, timestep):
        seen.append(x)
        return x.flip(2) + 0.1  # mixes history and new frames

    final = integrate(solver, model, noise, 5, 3.0, pin=pin, callback=lambda step, x, denoised: shown.append(x))
    assert len(seen) == 5
    assert all(torch.equal(x[:, :, :2], history) for x in [*seen, *shown, final])
    assert torch.equal(seen[0][:, :, 2:], noise[:, :, 2:])
    assert torch.equal(shown[-1], final)
    assert torch.equal(noise, kept)


@pytest.mark.parametrize("solver", SOLVERS)
def test_denoised_is_the_estimate_at_the_full_sigma(solver):
    seen, estimates = [], []

    def model(x, timestep):
        seen.append(x)
        return velocity(x)

    integrate(solver, model, START, 4, 5.0, callback=lambda step, x, denoised: estimates.append(denoised))
    sigmas = SCHEDULES[f"{solver}.steps4.shift5.sigmas"].double()
    for x, sigma, estimate in zip(seen, sigmas, estimates, strict=False):
        torch.testing.assert_close(estimate, x - sigma * velocity(x), rtol=0, atol=1e-12)


@pytest.mark.parametrize("solver", SOLVERS)
def test_run_keeps_the_dtype_of_the_noise(solver):
    noise = torch.randn(2, 3)
    low = integrate(solver, lambda x, t: (x * 0.3).bfloat16(), noise, 4, 3.0)
    assert low.dtype == torch.float32
    # The model's rounding comes in once: the same as handing over the rounded velocity in float32.
    assert torch.equal(low, integrate(solver, lambda x, t: (x * 0.3).bfloat16().float(), noise, 4, 3.0))
    assert integrate(solver, lambda x, t: x.double(), noise, 4, 3.0).dtype == torch.float32


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("ddim", 4, 3.0), 'solver is "ddim", but it must be one of unipc, dpm\\+\\+, euler'),
        (("unipc", 0, 3.0), "steps is 0, but sampling needs at least 1"),
        (("euler", -2, 3.0), "steps is -2"),
        (("euler", 4, 0.0), "shift is 0.0, but it must be positive: take 3.0"),
        (("dpm++", 4, -1.0), "shift is -1.0"),
        (("dpm++", 4, math.nan), "shift is nan"),
        (("dpm++", 4, math.inf), "shift is inf"),
    ],
)
def test_bad_settings_are_named_before_the_model_runs(arguments, message):
    solver, steps, shift = arguments
    with pytest.raises(ValueError, match=message):
        make_schedule(*arguments)
    with pytest.raises(ValueError, match=message):
        integrate(solver, lambda x, t: pytest.fail("the model was called"), START, steps, shift)


def test_unknown_stepper_is_named():
    with pytest.raises(ValueError, match="must be one of unipc"):
        make_stepper("heun", torch.tensor([1.0, 0.0]))
