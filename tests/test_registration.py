from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

import napari_ran as ran
from napari_ran import passes, plan, registration
from napari_ran.errors import NotEnoughMemoryError
from napari_ran.events import STAGES
from napari_ran.io.checkpoints import ModelCard, save_weights
from napari_ran.models import compiled, create_system

QUICK = {"weights": "none", "affine": "none"}


@pytest.fixture(scope="module")
def pair() -> tuple[ran.Image, ran.Image, ran.Labels, ran.Labels, ran.Landmarks, ran.Landmarks]:
    """A small textured pair on two oblique anisotropic grids, moved by a known smooth displacement in mm."""
    fixed_grid = ran.Grid((26, 22, 18), _oblique((1.5, 2.0, 2.5), 0.3, (5, -3, 8)))
    moving_grid = ran.Grid((24, 28, 20), _oblique((1.8, 1.6, 2.2), -0.2, (4, -4, 7)))
    centre = fixed_grid.centre

    def blobs(world: np.ndarray) -> np.ndarray:
        rng = np.random.default_rng(0)
        value = np.zeros(world.shape[:-1])
        for _ in range(25):
            place, size = centre + rng.uniform(-14, 14, 3), rng.uniform(2.5, 5)
            value += rng.uniform(0.3, 1) * np.exp(-0.5 * ((world - place) ** 2).sum(-1) / size**2)
        return value

    def displaced(world: np.ndarray) -> np.ndarray:
        weight = np.exp(-0.5 * ((world - centre) ** 2).sum(-1, keepdims=True) / 10**2)
        return world + weight * np.array([2.5, -2.0, 2.0])

    def ball(world: np.ndarray) -> np.ndarray:
        return (((world - centre) ** 2).sum(-1) < 8**2).astype(np.int32)

    fixed_world, moving_world = (_world(grid) for grid in (fixed_grid, moving_grid))
    # the moving image is blobs, the fixed one shows them at displaced points: fixed(x) = moving(x + u(x))
    fixed = ran.Image(blobs(displaced(fixed_world)), fixed_grid, "fixed")
    moving = ran.Image(blobs(moving_world), moving_grid, "moving")
    fixed_labels = ran.Labels(ball(displaced(fixed_world)), fixed_grid)
    moving_labels = ran.Labels(ball(moving_world), moving_grid)
    points = centre + np.random.default_rng(1).uniform(-8, 8, (12, 3))
    return fixed, moving, fixed_labels, moving_labels, ran.Landmarks(points), ran.Landmarks(displaced(points))


def _oblique(spacing: tuple[float, ...], angle: float, origin: tuple[float, ...]) -> np.ndarray:
    c, s = np.cos(angle), np.sin(angle)
    affine = np.eye(4)
    affine[:3, :3] = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]) @ np.diag(spacing)
    affine[:3, 3] = origin
    return affine


def _world(grid: ran.Grid) -> np.ndarray:
    return grid.to_world(np.stack(np.meshgrid(*map(np.arange, grid.shape), indexing="ij"), axis=-1))


@pytest.fixture(scope="module")
def result(pair: tuple) -> ran.Registration:
    fixed, moving, *rest = pair
    names = ("fixed_labels", "moving_labels", "fixed_landmarks", "moving_landmarks")
    return ran.register(fixed, moving, **dict(zip(names, rest, strict=True)), **QUICK)


def test_it_registers_two_different_oblique_grids(result: ran.Registration) -> None:
    report = result.report
    assert report.complete
    assert report.tre_after.mean < 0.4 * report.tre_before.mean
    assert report.dice_mean_after > report.dice_mean_before
    assert report.similarity_after > report.similarity_before
    assert report.folding_percent < 0.1


def test_the_result_lies_on_the_grids_of_the_pair(result: ran.Registration) -> None:
    assert result.warped.grid == result.field.grid == result.fixed.grid
    assert result.inverse_field.grid == result.moving.grid
    assert result.field.tensor.shape == (3, *result.fixed.grid.shape)
    assert result.warped_labels.grid == result.fixed.grid
    assert result.inverse_consistency.grid == result.fixed.grid


def test_what_was_given_stays_with_the_result(result: ran.Registration, pair: tuple) -> None:
    assert result.fixed_labels is pair[2]
    assert result.moving_labels is pair[3]
    assert result.fixed_landmarks is pair[4]
    assert result.moving_landmarks is pair[5]
    assert result.trace is None
    assert result.levels == ()


def test_the_inverse_brings_moving_landmarks_home(result: ran.Registration, pair: tuple) -> None:
    there_and_back = result.inverse_field.map_points(result.field.map_points(pair[4].points))
    assert np.abs(there_and_back - pair[4].points).max() < 0.5
    carried = result.warped_landmarks.points
    assert np.abs(result.field.map_points(carried) - pair[5].points).max() < 0.01  # solved for, not interpolated
    assert np.abs(carried - result.inverse_field.map_points(pair[5].points)).max() < 0.5


def test_stages_come_in_order_and_are_measured(pair: tuple) -> None:
    run = ran.start(*pair[:2], **QUICK, instance="none")
    events = list(run)
    order = [STAGES.index(event.stage) for event in events]
    assert order == sorted(order)
    report = run.result().report
    assert {stage.name for stage in report.stages} <= set(STAGES)
    assert {"network", "transform", "evaluate"} <= {stage.name for stage in report.stages}
    assert all(stage.seconds >= 0 and stage.peak_bytes > 0 for stage in report.stages)
    assert run.result() is run.result()


def test_cancelling_keeps_the_best_field_so_far(pair: tuple) -> None:
    run = ran.start(*pair[:2], **QUICK)
    for event in run:
        if event.stage == "instance" and event.step > 0.7 * event.total:
            run.cancel()
    partial = run.result()
    assert not partial.report.complete
    assert partial.report.similarity_after > partial.report.similarity_before
    assert float(partial.field.magnitude.max()) > 0


def test_a_run_stopped_at_once_has_no_result(pair: tuple) -> None:
    run = ran.start(*pair[:2], **QUICK)
    run.close()
    assert not run.has_result
    with pytest.raises(ran.InputError, match="stopped before anything was found"):
        run.result()


def test_the_callers_gradient_mode_is_untouched(pair: tuple) -> None:
    for _ in ran.start(*pair[:2], **QUICK, instance="none"):
        assert torch.is_grad_enabled()


def test_the_same_run_twice_gives_the_same_field(pair: tuple) -> None:
    torch.manual_seed(0)
    state = torch.get_rng_state()
    first, second = (ran.register(*pair[:2], **QUICK, instance={"steps": 10}).field.tensor for _ in range(2))
    assert first.abs().max() > 0
    assert torch.equal(first, second)
    assert torch.equal(state, torch.get_rng_state())


def test_network_mode_and_levels(pair: tuple) -> None:
    config = {"affine": "none", "instance": {"mode": "network", "network_steps": 2}, "keep_levels": True}
    result = ran.register(*pair[:2], **config)
    assert len(result.levels) == 5
    assert result.levels[-1].forward.field.shape[1] == 3
    assert result.levels is result.trace.levels
    assert len(result.trace.before.levels) == 5
    assert ran.register(*pair[:2], **QUICK).levels == ()


def test_an_int16_image_and_paths_give_the_same(pair: tuple, tmp_path: Path) -> None:
    from napari_ran.io import save_image

    fixed, moving = (dataclasses.replace(image, tensor=(image.tensor * 500).round()) for image in pair[:2])
    save_image(fixed, tmp_path / "fixed.nii.gz")
    save_image(moving, tmp_path / "moving.nii.gz")
    from_arrays = ran.register(fixed, moving, **QUICK, instance="none").warped
    from_paths = ran.register(
        tmp_path / "fixed.nii.gz", str(tmp_path / "moving.nii.gz"), **QUICK, instance="none"
    ).warped
    assert torch.allclose(from_arrays.tensor, from_paths.tensor, atol=1e-2)


def _flat(shape: tuple[int, ...]) -> ran.Image:
    return ran.Image(np.ones(shape), ran.Grid.from_spacing(shape))


def _noise(shape: tuple[int, ...], channels: int = 1) -> ran.Image:
    return ran.Image(np.random.default_rng(0).random((channels, *shape)), ran.Grid.from_spacing(shape))


@pytest.mark.parametrize(
    ("fixed", "moving", "more", "message"),
    [
        (_noise((9, 9, 9)), _noise((9, 9)), {}, "moving: the fixed image has 3 dimensions, the moving one 2"),
        (_noise((9, 9, 9)), _flat((9, 9, 9)), {}, "moving: all voxels have the same value"),
        (_noise((9, 9, 1)), _noise((9, 9, 9)), {}, "fixed: an axis has a single voxel"),
        (_noise((9, 9, 9), 3), _noise((9, 9, 9)), {}, "fixed: expected one channel, got 3"),
        (np.zeros((9, 9, 9)), _noise((9, 9, 9)), {}, "fixed: expected Image or a path, got ndarray"),
        ("nowhere.nii.gz", _noise((9, 9, 9)), {}, "fixed: "),
        (_noise((9, 9, 9)), _noise((9, 9, 9)), {"device": "cuda:99"}, "device: "),
        (_noise((9, 9, 9)), _noise((9, 9, 9)), {"weights": "nobody"}, "weights: "),
        (_noise((9, 9, 9)), _noise((9, 9, 9)), {"afine": "none"}, "afine: unknown key"),
        (
            _noise((9, 9, 9)),
            _noise((9, 9, 9)),
            {"fixed_labels": ran.Labels(np.ones((8, 9, 9)), ran.Grid.from_spacing((8, 9, 9)))},
            "fixed_labels: ",
        ),
        (
            _noise((9, 9, 9)),
            _noise((9, 9, 9)),
            {"fixed_landmarks": ran.Landmarks([[50, 0, 0]]), "moving_landmarks": ran.Landmarks([[1, 0, 0]])},
            "fixed_landmarks: 1 of 1 points lie outside",
        ),
    ],
)
def test_bad_input_is_one_error_before_any_work(fixed: object, moving: object, more: dict, message: str) -> None:
    with pytest.raises(ran.InputError) as caught:
        ran.start(fixed, moving, **more)  # type: ignore[arg-type]
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_2d_pairs_register_too() -> None:
    pair = ran.phantom_2d()
    result = ran.register(pair.fixed, pair.moving, affine="none", instance={"steps": 20})
    assert result.field.tensor.shape == (2, *pair.fixed.grid.shape)
    assert result.report.similarity_after > result.report.similarity_before


@pytest.mark.parametrize("instance", ["none", "network"])
def test_any_system_s_weights_register(tmp_path: Path, instance: str) -> None:
    made = ran.phantom_2d()
    card = ModelCard(name="small", preset="VM1", ndim=2)
    weights = str(save_weights(create_system("VM1", 2), tmp_path / "small.safetensors", card))
    settings = {"weights": weights, "affine": "none", "instance": {"mode": instance, "network_steps": 4}}
    result = ran.register(made.fixed, made.moving, **settings)
    assert any(weights in message for message in result.report.messages)
    moved = float(result.field.tensor.abs().max())
    assert moved < 0.1 if instance == "none" else moved > 0.1
    with pytest.raises(ran.InputError, match=r"keep_levels: .* is a VM1, which has no levels"):
        ran.start(made.fixed, made.moving, keep_levels=True, **settings)


@pytest.mark.realdata
@pytest.mark.slow
def test_two_real_volumes_on_different_grids(real_data: Path) -> None:
    folder = real_data / "hippocampus"
    images = sorted(path for path in folder.rglob("*.nii.gz") if "label" not in str(path))[:2]
    result = ran.register(*images)
    assert result.report.similarity_after > result.report.similarity_before
    assert result.report.folding_percent < 0.1


def _breaking(stage: object, error: Exception, after: int) -> object:
    """The generator function `stage`, whose first call ends with an error after so many steps."""
    calls = []

    def broken(*arguments: object, **more: object) -> object:
        calls.append(0)
        steps = stage(*arguments, **more)  # type: ignore[operator]
        if len(calls) > 1:
            return (yield from steps)
        for _ in range(after):
            yield next(steps)
        raise error

    return broken


@pytest.mark.parametrize("after", [1, 8])
def test_a_device_that_runs_out_of_memory_is_left_for_the_processor(
    pair: tuple, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    full = torch.cuda.OutOfMemoryError("CUDA out of memory")
    monkeypatch.setattr(registration, "optimise_field", _breaking(registration.optimise_field, full, after))
    run = ran.start(*pair[:2], affine="none", weights="none", instance={"steps": 4, "search": 1}, device="cpu")
    run.device = torch.device("cpu:0")  # stands for a GPU: not the processor's own name
    for _ in run:
        pass
    result = run.result()
    assert any("ran out of memory: computed on the CPU instead" in text for text in result.report.messages)
    assert run.device == torch.device("cpu")
    assert result.report.complete
    assert result.field.tensor.abs().max() > 0


@pytest.mark.parametrize(
    "error", [MemoryError(), RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried")]
)
def test_running_out_of_memory_is_one_error_and_keeps_what_was_found(
    pair: tuple, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    monkeypatch.setattr(registration, "optimise_field", _breaking(registration.optimise_field, error, 6))
    run = ran.start(*pair[:2], affine="none", weights="none", instance={"steps": 4, "search": 1}, device="cpu")
    with pytest.raises(NotEnoughMemoryError, match="ran out of memory in the middle"):
        for _ in run:
            pass
    assert not run.result().report.complete


def test_other_faults_are_not_hidden(pair: tuple, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registration, "optimise_field", _breaking(registration.optimise_field, RuntimeError("odd"), 1))
    with pytest.raises(RuntimeError, match="odd"):
        ran.register(*pair[:2], affine="none", weights="none", device="cpu")


def test_little_memory_makes_the_working_grid_coarser(pair: tuple, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = {"affine": "none", "weights": "none", "device": "cpu", "instance": "none"}
    usual = ran.register(*pair[:2], **settings)
    monkeypatch.setattr(plan, "LEAST_VOXELS", 1_000)
    monkeypatch.setattr(plan, "free_memory", lambda device: 300_000)
    found = ran.register(*pair[:2], **settings)
    assert any("coarser than usual, to fit into memory" in text for text in found.report.messages)
    assert found.field.grid == usual.field.grid
    with pytest.raises(NotEnoughMemoryError):
        ran.register(*pair[:2], **settings, spacing=1.0)  # what was asked for is not changed


def test_the_plan_is_there_before_the_run_and_in_the_report(pair: tuple) -> None:
    run = ran.start(*pair[:2], **QUICK, instance={"steps": 2, "search": 0})
    assert run.plan.line.startswith("Memory: about ")
    assert {need.name for need in run.plan.needs} <= set(STAGES)
    for _ in run:
        pass
    assert run.plan.line in run.result().report.messages


@pytest.mark.parametrize("stage", ["network", "instance"])
def test_running_out_of_memory_shrinks_the_work_before_the_device_is_left(
    monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    """First fewer voxels for the network, or a coarser working grid; then the processor."""
    made = ran.phantom_2d()
    monkeypatch.setattr(registration, "LEAST_VOXELS", 2_000)
    home, name = (passes, "refine_in_tiles") if stage == "network" else (registration, "optimise_field")
    work, calls = getattr(home, name), []

    def broken(*arguments: object) -> object:
        calls.append(arguments)
        if len(calls) < 3:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return (yield from work(*arguments))

    monkeypatch.setattr(home, name, broken)
    settings = {"instance": "none", "network_voxels": 8_000} if stage == "network" else {"instance": {"steps": 2}}
    run = ran.start(made.fixed, made.moving, affine="none", device="cpu", **settings)  # type: ignore[arg-type]
    run.device = torch.device("cpu:0")  # stands for a GPU: not the processor's own name
    for _ in run:
        pass
    result = run.result()
    said = [text for text in result.report.messages if "ran out of memory" in text]
    assert len(said) == 2
    assert len(set(result.report.messages)) == len(result.report.messages)
    if stage == "network":
        assert sum(text.startswith("The network ran on") for text in result.report.messages) == 1
        assert "the network sees 4,000 voxels at once instead" in said[0]
        assert "the network sees 2,000 voxels at once instead" in said[1]
        assert run.device == torch.device("cpu:0")
    else:
        assert "continued on a working grid of" in said[0]
        assert "computed on the CPU instead" in said[1]
        assert run.device == torch.device("cpu")
    assert result.report.complete
    assert result.field.grid == made.fixed.grid
    assert result.report.similarity_after > result.report.similarity_before  # type: ignore[operator]


@pytest.mark.slow
def test_a_compiled_network_registers_alike_and_says_that_it_compiles(pair: tuple) -> None:
    fixed, moving = pair[:2]
    plain, run = ran.register(fixed, moving, instance="none"), ran.start(fixed, moving, instance="none", compile=True)
    events = [event.message for event in run if event.stage == "network"]
    assert events[0].startswith("compiling the network")
    torch.testing.assert_close(run.result().field.tensor, plain.field.tensor, rtol=0, atol=1e-3)


def test_a_network_that_cannot_be_compiled_runs_as_it_is(
    pair: tuple, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    fixed, moving = pair[:2]
    plain = ran.register(fixed, moving, instance="none")
    monkeypatch.setattr(compiled, "_try", lambda device: None)  # as where only large things fail
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr("torch._inductor.config.cpp.cxx", (str(tmp_path / "none"),))
    torch._dynamo.reset()
    result = ran.register(fixed, moving, instance="none", compile=True)
    torch._dynamo.reset()
    said = [message for message in result.report.messages if "network ran" in message.lower()]
    assert "ran uncompiled" in said[0]
    assert said[1:] == [message for message in plain.report.messages if "network ran" in message.lower()]
    torch.testing.assert_close(result.field.tensor, plain.field.tensor, rtol=0, atol=1e-6)


def test_what_is_not_there_or_fitted_is_not_compiled(pair: tuple) -> None:
    fixed, moving = pair[:2]
    for settings in ({"weights": "none", "instance": "none"}, {"instance": {"mode": "network", "network_steps": 1}}):
        events = [event.message for event in ran.start(fixed, moving, affine="none", compile=True, **settings)]
        assert not any("compiling" in message for message in events)
