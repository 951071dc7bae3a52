"""`scail2 check --gpus` says who makes the video together, and why they are fewer than asked for."""

from fractions import Fraction

import pytest
from safetensors.torch import save_file
from test_generate import SIZE, command

from scail_model.config import TransformerConfig
from scail_model.headless import checks
from scail_model.headless.cli import main
from tests.demo import drawing, small_models


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    folder = tmp_path_factory.mktemp("job")
    drawing.write_job(folder, SIZE, 9, False, fps=Fraction(16))
    return {"image": folder / "reference.png", "mask_image": folder / "reference_mask.png",
            "pose": folder / "driving.mp4", "mask_video": folder / "driving_mask.mp4"}


@pytest.fixture(scope="module")
def two_heads(models):
    config = TransformerConfig(dim=256, ffn_dim=256, num_heads=2, num_layers=2)
    path = models / "two_heads.safetensors"
    weights = small_models.transformer(config).state_dict()
    save_file({name: tensor.contiguous() for name, tensor in weights.items()}, path)
    return path


@pytest.fixture
def said(models, two_heads, job, tmp_path, monkeypatch, capsys):
    """said(gpus) -> the report. The machine has three GPUs, the model two heads."""
    monkeypatch.setattr(checks, "all_gpus", lambda first: [first] * 3)

    def check(gpus, guidance=1.0, **changes):
        _, *arguments = command(models, job, tmp_path / "out.mp4", gpus=gpus, scail_path=two_heads,
                                sample_guide_scale=guidance, **changes)
        assert main(["check", *arguments]) == 0
        return capsys.readouterr().out

    return check


def test_one_gpu_is_not_worth_a_word(said):
    assert "GPUs:" not in said(1)


def test_two_gpus_share_rows_or_prompts(said):
    assert "- GPUs: 2 make one video (cpu, cpu)\n" in said(2)
    assert "- GPUs: 2 make one video (cpu, cpu), each prompt on half of them\n" in said(2, guidance=5.0)


def test_fewer_than_asked_for(said):
    text = said("all")
    why = '- gpus is "all", but the model\'s 2 attention heads cannot be shared equally by 3: 2 GPUs are used.'
    assert text.count(why[2:]) == text.count(why) == 1
    assert "- GPUs: 2 make one video (cpu, cpu)\n" in text


def test_scenes_at_the_same_time_are_said(said):
    """9 frames with a cut at 4: two scenes, for which two GPUs are enough."""
    assert "- scenes at the same time: segment 1 on GPU 1; segment 2 on GPU 2\n" in said(2, scene_cuts="4")
    assert "at the same time" not in said(1, scene_cuts="4")
    assert "at the same time" not in said(2)
