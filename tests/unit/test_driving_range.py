"""The driving video followed in a part of the sampling, on the command line: against a loop written out."""

import golden
import pytest
import torch

from scail_model.headless.sampling import sample_latent
from scail_model.video.options import VideoOptions
from scail_model.video.task import Settings

STEPS, SHIFT = 5, 3.0
LEVELS = [SHIFT * s / (1 + (SHIFT - 1) * s) for s in (1.0, 0.8, 0.6, 0.4, 0.2, 0.0)]


def plain(network, tensors, conditions, driven):
    """Euler, a call a step; the sequence of tokens has a driving video in the steps that are marked."""
    x = tensors["seg0.noise"][None]
    for level, following, follow in zip(LEVELS, LEVELS[1:], driven, strict=False):
        given = conditions if follow else {**conditions, "driving_latents": None, "driving_masks": None}
        velocity = network(x, torch.tensor([1000 * level]), tensors["context"][None], golden.clip_features(1)[None],
                           **given)
        x = x + (following - level) * velocity
    return x


@pytest.mark.parametrize(("start", "end", "driven"), [
    (0.0, 1.0, [True] * 5), (0.0, 0.4, [True, True, True, False, False]),
    (0.3, 0.75, [False, False, True, True, False]),
    (0.5, 1.0, [False, False, False, True, True]), (0.01, 0.19, [False] * 5)])
def test_equals_a_loop_written_out(start, end, driven):
    tensors, info = golden.load("E1_sampling_anim_2seg")
    network = golden.tiny_transformer()
    conditions = {"reference_latents": tensors["ref_latent"][None], "reference_masks": tensors["ref_masks"][None],
                  "driving_latents": tensors["seg0.pose_latent"][None],
                  "driving_masks": tensors["seg0.driving_masks"][None], "replacement": info["replace_flag"]}
    settings = Settings("euler", STEPS, SHIFT, 1.0, 0, 81, 5, False, driving_start=start, driving_end=end)
    with torch.inference_mode():
        found = sample_latent(network, tensors["context"][None], None, golden.clip_features(1)[None], conditions,
                              tensors["seg0.noise"][None], settings, guidance=1.0)
        torch.testing.assert_close(found, plain(network, tensors, conditions, driven), rtol=0, atol=1e-5)


def test_the_network_does_not_see_what_is_left_out():
    """Without a driving video no other token changes its place: the positions are those of the sequence with it."""
    network = golden.tiny_transformer()
    tensors, info = golden.load("E1_sampling_anim_2seg")
    seen = []
    hook = network.blocks[0].register_forward_pre_hook(lambda _, given: seen.append((given[0].clone(), given[2])))
    conditions = {"reference_latents": tensors["ref_latent"][None], "reference_masks": tensors["ref_masks"][None],
                  "replacement": info["replace_flag"]}
    with torch.inference_mode():
        for driving in ({"driving_latents": tensors["seg0.pose_latent"][None],
                         "driving_masks": tensors["seg0.driving_masks"][None]},
                        {"driving_latents": None, "driving_masks": None}):
            network(tensors["seg0.noise"][None], torch.tensor([500.0]), tensors["context"][None],
                    golden.clip_features(1)[None], **conditions, **driving)
    hook.remove()
    (whole, (cos, sin)), (without, (fewer_cos, fewer_sin)) = seen
    rows = without.shape[1]
    assert rows == len(fewer_cos) < whole.shape[1]
    torch.testing.assert_close(without, whole[:, :rows], rtol=0, atol=1e-6)
    assert torch.equal(fewer_cos, cos[:rows])
    assert torch.equal(fewer_sin, sin[:rows])
    with pytest.raises(ValueError, match="driving_latents and driving_masks belong together"):
        network(tensors["seg0.noise"][None], torch.tensor([500.0]), tensors["context"][None], None, **conditions,
                driving_latents=tensors["seg0.pose_latent"][None], driving_masks=None)


@pytest.mark.parametrize("change", [{"driving_start": 0.5, "driving_end": 0.5}, {"driving_start": 0.6,
                                                                              "driving_end": 0.2}])
def test_a_range_without_a_step_is_refused(change):
    with pytest.raises(ValueError, match="the driving video must be followed from one part of the sampling to a later"):
        VideoOptions(**change).check_values()
