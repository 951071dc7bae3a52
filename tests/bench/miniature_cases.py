"""The cases of the miniature's table: each draws clips that training never saw, makes them anew, and measures."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from itertools import permutations

import measure
import torch
import torch.nn.functional as F
from inputs import halved
from miniature_models import Miniature, Sampling, Velocity, core_velocity, moved
from torch import Tensor
from world import SHIRT, WORDS, Pictures, Random, Scenes, draw, make_scenes

SIZE, FRAMES, OVERLAP = 192, 17, 5  # pixels; frames of a segment, and of its history
HELD_OUT = 2_000_000_000  # scenes of the table have seeds from here on
SIZES = ((160, 224, 17), (224, 160, 17), (192, 192, 9), (192, 192, 17), (192, 192, 33), (256, 256, 17))
STEPS = (1, 2, 4, 8, 20, 40)
GUIDANCE = (1, 2, 3, 5)
STRENGTHS, SHOWN_STRENGTHS = (3, 5, 11, 25), (11,)  # of negative_strength
MODES = {"animation": False, "replacement": True}
_BATCH = 32
_LEVEL = 0.5  # of 255, by which a shirt has moved
_MOVED = 0.1  # of the way from one colour to the other
_SHOWN = 2  # clips of a batch on a contact sheet

Table = dict[str, dict[str, float]]


class Rows:
    """Measures of clips, collected by row and averaged in the end."""

    def __init__(self) -> None:
        self.values: dict[str, dict[str, list[Tensor]]] = defaultdict(lambda: defaultdict(list))

    def add(self, row: str, **measures: Tensor) -> None:
        """Measures [n] of some clips; NaN where there is nothing to measure."""
        for name, values in measures.items():
            self.values[row][name].append(values.float().cpu())

    def table(self) -> Table:
        joined = {row: {name: torch.cat(parts) for name, parts in columns.items()}
                  for row, columns in self.values.items()}
        return {row: {"clips": len(next(iter(columns.values())))}
                | {name: float(f"{values.nanmean().item():.4g}") for name, values in columns.items()}
                for row, columns in joined.items()}


@dataclass(frozen=True)
class Block:
    """Part of a contact sheet: pictures [3, H, W] at the left, one below another, and a video [T, 3, H, W] per row."""

    pictures: list[Tensor]
    videos: list[Tensor]


@dataclass
class Bench:
    """What every case needs. `clips`: in a row; `many`: in a row that counts how often something comes out right."""

    miniature: Miniature
    clips: int
    many: int
    sheets: dict[str, list[Block]] = field(default_factory=lambda: defaultdict(list))

    def batches(self, seed: int, count: int, people: int, replacement: bool, *, height: int = SIZE, width: int = SIZE,
                frames: int = FRAMES, batch: int = _BATCH, **options: float) -> Iterator[tuple[int, Scenes, Pictures]]:
        """Seeds, scenes and drawings of `count` clips; parameters are drawn on the CPU, which every machine has."""
        for number, start in enumerate(range(0, count, batch)):
            batch_seed = HELD_OUT + 1000 * seed + number
            scenes = moved(make_scenes(Random(batch_seed), min(batch, count - start), people, width / height,
                                       replacement=replacement, **options), self.miniature.device)
            yield batch_seed, scenes, draw(scenes, height, width, frames)

    def show(self, sheet: str, pictures: Pictures, *results: Tensor, additional: bool = False,
             driving_mask: Tensor | None = None) -> None:
        """Put the first clips on a contact sheet: what was given, the results, the truth."""
        mask = pictures.driving_mask if driving_mask is None else driving_mask
        left = [pictures.reference, pictures.reference_mask]
        left += [pictures.additional, pictures.additional_mask] if additional else []
        for clip in range(min(_SHOWN, len(mask))):
            rows = (pictures.driving, mask, *results, pictures.truth)
            self.sheets[sheet].append(Block([video[clip, 0].cpu() for video in left],
                                            [video[clip].cpu() for video in rows]))


def vae(bench: Bench) -> Table:
    """The VAE alone, on the truth at full size and at half size, which the driving video is encoded at."""
    rows, network = Rows(), bench.miniature.vae
    for number, (width, height, frames) in enumerate((*SIZES, (192, 192, 1))):
        for _, _, full in bench.batches(number, bench.clips, 2, False, height=height, width=width, frames=frames):
            half = replace(full, truth=halved(full.truth), coverage=F.avg_pool2d(full.coverage.flatten(0, 1), 2)
                           .unflatten(0, full.coverage.shape[:2]), background=halved(full.background[:, None])[:, 0])
            for name, pictures in (("", full), (", half size", half)):
                result = network.decode(network.encode(pictures.truth))
                rows.add(f"{width}x{height}, {frames} frames{name}", **measure.score(result, pictures))
    return rows.table()


def modes(bench: Bench) -> Table:
    """Animation and replacement with one to three people, beside three answers that need no transformer."""
    rows, miniature = Rows(), bench.miniature
    for number, (mode, replacement) in enumerate(MODES.items()):
        for people in (1, 2, 3):
            name = f"{mode}, {people}"
            count = bench.clips if people == 1 else bench.many
            for seed, scenes, pictures in bench.batches(10 + 3 * number + people, count, people, replacement):
                result = miniature.make(miniature.conditions(pictures, replacement), seed)
                roundtrip = miniature.vae.decode(miniature.vae.encode(pictures.truth))
                rows.add(name, **measure.score(result, pictures), **identity(result, scenes, pictures))
                for answer, video in (("VAE of the truth", roundtrip), ("driving video", pictures.driving),
                                      ("reference", pictures.reference.expand_as(pictures.truth))):
                    rows.add(f"{name}: {answer}", **measure.score(video, pictures))
                if seed % 1000 == 0:
                    bench.show(mode, pictures, result)
    return rows.table()


def identity(result: Tensor, scenes: Scenes, pictures: Pictures) -> dict[str, Tensor]:
    """Whether everybody looks like themselves; nothing for one person."""
    orders = list(permutations(range(scenes.people)))[1:]  # the first one changes nothing
    if not orders:
        return {}
    swapped = [_in_looks(scenes, pictures, list(order)).truth for order in orders]
    return {"identity_right": measure.identity_right(result, pictures.truth, swapped, pictures.coverage)}


def _in_looks(scenes: Scenes, pictures: Pictures, order: list[int]) -> Pictures:
    """The drawing with a truth in which the people have exchanged their looks."""
    frames, _, height, width = pictures.truth.shape[1:]
    truth, coverage, spots = measure.draw_truth(scenes, scenes.true_looks.swapped(order), height, width, frames)
    return replace(pictures, truth=truth, coverage=coverage, spots=spots)


def colours(bench: Bench) -> Table:
    """Two people whose colours are exchanged in the driving mask alone: they have to exchange their looks."""
    rows, miniature = Rows(), bench.miniature
    for number, (mode, replacement) in enumerate(MODES.items()):
        for seed, scenes, pictures in bench.batches(20 + number, bench.many, 2, replacement):
            exchanged = draw(replace(scenes, identities=scenes.identities.flip(1)), SIZE, SIZE, FRAMES).driving_mask
            given = replace(pictures, driving_mask=exchanged)
            swapped = _in_looks(scenes, pictures, [1, 0])
            result = miniature.make(miniature.conditions(given, replacement), seed)
            follows = measure.identity_right(result, swapped.truth, pictures.truth, swapped.coverage)
            rows.add(f"{mode}: against the swapped truth", **measure.score(result, swapped), nearer=follows)
            rows.add(f"{mode}: against the first truth", **measure.score(result, pictures), nearer=~follows)
            if seed % 1000 == 0:
                bench.show("swapped_colours", swapped, result, driving_mask=exchanged)
    return rows.table()


def controls(bench: Bench) -> Table:
    """One person, with the mode flag or the masks wrong: what each of them does."""
    rows, miniature = Rows(), bench.miniature
    for number, (mode, replacement) in enumerate(MODES.items()):
        for seed, scenes, _ in bench.batches(30 + number, bench.clips, 1, replacement):
            scenes = replace(scenes, cut_out=torch.zeros_like(scenes.cut_out))  # else animation lacks its background
            own, other = (draw(replace(scenes, replacement=torch.full_like(scenes.replacement, flag)), SIZE, SIZE,
                               FRAMES) for flag in (replacement, not replacement))
            no_driving_mask = replace(own, driving_mask=torch.zeros_like(own.driving_mask))
            no_masks = replace(no_driving_mask, reference_mask=torch.zeros_like(own.reference_mask))
            for change, given, flag in (
                    ("as it should be", own, replacement), ("flag alone flipped", own, not replacement),
                    ("masks alone of the other mode", other, replacement),
                    ("flag and masks of the other mode", other, not replacement),
                    ("both masks blank", no_masks, replacement),
                    ("driving mask blank", no_driving_mask, replacement)):
                given = replace(given, driving=own.driving, reference=own.reference)
                result = miniature.make(miniature.conditions(given, flag), seed)
                rows.add(f"{mode}: {change}", **measure.score(result, own),
                         psnr_other_mode=measure.score(result, other)["psnr"])
    return rows.table()


def history(bench: Bench) -> Table:
    """A second segment that begins with the last five frames of the first, against one that knows nothing of it."""
    rows, miniature = Rows(), bench.miniature
    seam = FRAMES - OVERLAP  # frame at which the second segment begins
    for number, (mode, replacement) in enumerate(MODES.items()):
        for people in (1, 2):
            for seed, _, whole in bench.batches(40 + 2 * number + people, bench.clips, people, replacement,
                                                frames=seam + FRAMES):
                first, second = cut(whole, 0, FRAMES), cut(whole, seam, seam + FRAMES)
                before = miniature.make(miniature.conditions(first, replacement), seed)
                still = 1 - whole.coverage[:, FRAMES - 1 : FRAMES + 1].amax((1, 2))  # [n, H, W], at the seam
                rows.add(f"{mode}, {people}: first segment", **measure.score(before, first),
                         background_jump=_jump(before[:, -2], before[:, -1], still))
                conditions = miniature.conditions(second, replacement)
                known = miniature.vae.encode(before[:, seam:])
                for name, latents in (("with history", known), ("without", None)):
                    result = miniature.make(conditions, seed + 500, history=latents)
                    new = cut(whole, FRAMES, seam + FRAMES)
                    rows.add(f"{mode}, {people}: {name}", **measure.score(result[:, OVERLAP:], new),
                             overlap_psnr=measure.decibels((result[:, :OVERLAP] - before[:, seam:]).square()
                                                           .mean((1, 2, 3, 4))),
                             background_jump=_jump(before[:, -1], result[:, OVERLAP], still))
    return rows.table()


def cut(pictures: Pictures, start: int, stop: int) -> Pictures:
    names = ("truth", "coverage", "spots", "driving", "driving_mask")
    return replace(pictures, **{name: getattr(pictures, name)[:, start:stop] for name in names})


def _jump(before: Tensor, after: Tensor, still: Tensor) -> Tensor:
    """Mean change [n] of the background, in levels of 0..255, from one frame [n, 3, H, W] to the next."""
    return ((after - before).abs() * still[:, None]).sum((1, 2, 3)) / (3 * still.sum((1, 2))) * 255


def additional(bench: Bench) -> Table:
    """People seen from behind, with and without a second reference that shows their backs."""
    rows, miniature = Rows(), bench.miniature
    for number, (mode, replacement) in enumerate(MODES.items()):
        for seed, scenes, pictures in bench.batches(50 + number, bench.clips, 1, replacement, behind_share=1.0):
            without, having = (miniature.make(miniature.conditions(pictures, replacement, back), seed)
                               for back in (False, True))
            ceiling = miniature.vae.decode(miniature.vae.encode(pictures.truth))
            spots = measure.SpotTruth.of(scenes, SIZE, SIZE, FRAMES)
            for name, result in (("without", without), ("with", having), ("VAE of the truth", ceiling)):
                rows.add(f"{mode}: {name}", **measure.score(result, pictures), spots_right=spots.right(result),
                         spots_psnr=spots.psnr(result))
            if seed % 1000 == 0:
                bench.show("additional_reference", pictures, without, having, additional=True)
    return rows.table()


def words(bench: Bench) -> Table:
    """A word for the shirt, against the reference: how far the shirts are from the word's colour at each guidance.

    way: from the reference's colour to the word's, 1 is all of it; moved: the right way, by a tenth or more; follows:
    nearer to the word's colour than to the reference's.
    """
    rows, miniature, names = Rows(), bench.miniature, list(WORDS)
    for seed, scenes, pictures in bench.batches(60, bench.many, 1, False, word_share=1.0):
        conditions = miniature.conditions(pictures, False)
        prompts = [names[word] for word in scenes.word.tolist()]
        shirts = measure.ShirtTruth.of(scenes, SIZE, SIZE, FRAMES)
        results = {"no word": miniature.make(conditions, seed)}
        for guidance in GUIDANCE:
            results[f"guidance {guidance}"] = miniature.make(conditions, seed, Sampling(guidance=guidance),
                                                             prompts=prompts)
        reference = scenes.looks.palette[:, 0, SHIRT]
        for name, result in results.items():
            to_word, to_reference = (shirts.error(result, colour) for colour in (scenes.word_colours, reference))
            way = shirts.way(result, results["no word"], reference, scenes.word_colours)
            rows.add(name, shirt_to_word=to_word, shirt_to_reference=to_reference, way=way,
                     moved=_share(way > _MOVED, way), follows=_share(to_word < to_reference, way),
                     **measure.score(result, pictures))
        if seed % 1000 == 0:
            bench.show("words", pictures, *results.values())
    return rows.table()


def negative(bench: Bench) -> Table:
    """A negative word at guidance 1, that of the reference's shirt, while the prompt says another one: how far the
    shirts get from the negative word's colour, by negative_strength.

    Clips whose shirts the prompt alone moves at all, by a tenth of the way, apart from those in which it does nothing;
    then clips without a prompt. away, still, nearer: of the clips, those whose shirts are further from the negative
    word's colour than without it, by half a level of 255 or more, as far but for that, or nearer. by: levels. to_word:
    by how many they come nearer to the prompt's word. elsewhere: PSNR of what is no shirt, against the same without it.
    """
    rows, miniature = Rows(), bench.miniature
    colours = torch.tensor(list(WORDS.values()), device=miniature.device)
    for share in (1.0, 0.0):
        for seed, scenes, pictures in bench.batches(62 + int(share), bench.many, 1, False, word_share=share):
            reference = scenes.looks.palette[:, 0, SHIRT]
            said = scenes.word[:, None] == torch.arange(len(WORDS), device=miniature.device)
            chosen = torch.cdist(reference, colours).masked_fill(said, torch.inf).argmin(1)
            conditions = miniature.conditions(pictures, False)
            prompts, negatives = map(_in_words, (scenes.word, chosen))
            results = {strength: miniature.make(conditions, seed, Sampling(negative_strength=strength), prompts=prompts,
                                                negatives=negatives) for strength in (0, *STRENGTHS)}
            shirts = measure.ShirtTruth.of(scenes, SIZE, SIZE, FRAMES)
            way = shirts.way(results[0], miniature.make(conditions, seed), reference, scenes.word_colours)
            for name, clips in {"the word acts": way > _MOVED, "it does nothing": ~(way > _MOVED)}.items():
                for strength, result in results.items():
                    away, to_word = (255 * (shirts.error(result, goal) - shirts.error(results[0], goal))[clips]
                                     for goal in (colours[chosen], scenes.word_colours))
                    rows.add(f"{name if share else 'no word'}, strength {strength}", away=_share(away > _LEVEL, away),
                             still=_share(away.abs() <= _LEVEL, away), nearer=_share(away < -_LEVEL, away), by=away,
                             to_word=-to_word if share else torch.full_like(away, torch.nan),
                             elsewhere=shirts.elsewhere(result, results[0])[clips])
            if share and seed % 1000 == 0:
                bench.show("negative", pictures, *(results[strength] for strength in (0, *SHOWN_STRENGTHS)))
    return rows.table()


def _in_words(chosen: Tensor) -> list[str]:
    """Numbers of words [n], -1 for none -> prompts."""
    return [["", *WORDS][number + 1] for number in chosen.tolist()]


def _share(yes: Tensor, where: Tensor) -> Tensor:
    """bool [n] as 0 and 1, NaN where there was nothing to compare."""
    return torch.where(where.isnan(), where, yes.float())


def solvers(bench: Bench) -> Table:
    """Each solver with few and many steps; the spots on the backs tell a sample from an average."""
    chosen = {f"{solver}, {steps} steps": Sampling(solver, steps) for solver in ("euler", "unipc", "dpm++")
              for steps in STEPS}
    return _of_backs(bench, 70, {name: (sampling, None) for name, sampling in chosen.items()})


def lora(bench: Bench) -> Table | str:
    """The few-step LoRA on and off."""
    if not bench.miniature.has_lora:
        return "the folder has no LoRA"
    networks = {"without": bench.miniature.transformer, "with": bench.miniature.with_lora()}
    return _of_backs(bench, 71, {f"{steps} steps, {name}": (Sampling(steps=steps), network) for steps in STEPS[:3]
                                 for name, network in networks.items()})


def _of_backs(bench: Bench, number: int, ways: dict[str, tuple[Sampling, Velocity | None]]) -> Table:
    """People seen from behind, made in several ways; a network of None is the file's."""
    rows, miniature = Rows(), bench.miniature
    for seed, scenes, pictures in bench.batches(number, bench.clips, 1, False, behind_share=1.0):
        spots = measure.SpotTruth.of(scenes, SIZE, SIZE, FRAMES)
        conditions = miniature.conditions(pictures, False)
        for name, (sampling, network) in ways.items():
            result = miniature.make(conditions, seed, sampling, velocity=network)
            rows.add(name, **measure.score(result, pictures), spots_psnr=spots.psnr(result))
        ceiling = miniature.vae.decode(miniature.vae.encode(pictures.truth))
        rows.add("VAE of the truth", **measure.score(ceiling, pictures), spots_psnr=spots.psnr(ceiling))
    return rows.table()


def precision(bench: Bench) -> Table:
    """The transformer in half precision, and with 8-bit weights."""
    miniature = bench.miniature
    return _differences(bench, 80, {"float32": miniature.transformer}, {
        "float16": miniature.build(miniature.tensors, torch.float16),
        "bfloat16": miniature.build(miniature.tensors, torch.bfloat16), "float8_e4m3fn weights": miniature.with_fp8()})


def rotations(bench: Bench) -> Table:
    """Rotary multipliers of the driving tokens at length 1, against the official averages."""
    miniature = bench.miniature
    return _differences(bench, 81, {"official": miniature.transformer},
                        {"unit length": miniature.with_unit_rotations()})


def core(bench: Bench) -> Table:
    """ComfyUI core's own network on the same weights and inputs; its rotary multipliers have length 1.

    Without CLIP features core reads the text with the weights for images too, so it agrees only if those give zero.
    """
    miniature = bench.miniature
    ours = {"ours": miniature.transformer, "ours at unit length": miniature.with_unit_rotations()}
    return _differences(bench, 82, ours, {"core": core_velocity(miniature)})


def _differences(bench: Bench, number: int, standards: dict[str, Velocity], others: dict[str, Velocity]) -> Table:
    """Networks on the same clips with two people, and the relative differences of their latents to the standards'."""
    rows, miniature = Rows(), bench.miniature
    for index, (mode, replacement) in enumerate(MODES.items()):
        for seed, _, pictures in bench.batches(number + 10 * index, bench.clips, 2, replacement):
            conditions = miniature.conditions(pictures, replacement)
            latents = {name: miniature.latents(conditions, seed, velocity=network)
                       for name, network in (standards | others).items()}
            for name, made in latents.items():
                differences = {f"difference to {standard}": _relative(made, latents[standard])
                               for standard in standards if standard != name}
                rows.add(f"{mode}: {name}", **measure.score(miniature.vae.decode(made), pictures), **differences)
    return rows.table()


def _relative(made: Tensor, standard: Tensor) -> Tensor:
    return (made - standard).flatten(1).norm(dim=1) / standard.flatten(1).norm(dim=1)


def sizes(bench: Bench) -> Table:
    """Other sizes and lengths, beside what the VAE allows there."""
    rows, miniature = Rows(), bench.miniature
    for number, (width, height, frames) in enumerate(SIZES):
        for seed, _, pictures in bench.batches(100 + number, bench.clips, 1, False, height=height, width=width,
                                               frames=frames):
            result = miniature.make(miniature.conditions(pictures, False), seed)
            ceiling = miniature.vae.decode(miniature.vae.encode(pictures.truth))
            limits = {f"vae_{name}": values for name, values in measure.score(ceiling, pictures).items()}
            rows.add(f"{width}x{height}, {frames} frames", **measure.score(result, pictures), **limits)
    return rows.table()


CASES: dict[str, Callable[[Bench], Table | str]] = {
    case.__name__: case for case in (vae, modes, colours, controls, history, additional, words, negative, solvers, lora,
                                     precision, rotations, sizes, core)}
