"""How many GPUs make one video, and what is said where they are fewer than asked for."""

from dataclasses import replace

import pytest
import torch

from scail_model.gpus.choice import ALL, OFFERED, Gpu, all_gpus, choose, choose_here, gpu_facts, wanted_gpus

GIB = 2**30
H200 = ("NVIDIA H200", (9, 0), 141 * GIB)
RTX = ("NVIDIA GeForce RTX 5090", (12, 0), 32 * GIB)


def gpus(kinds, links=None, free=None):
    """kinds: of each GPU. links: pairs with peer access, all by default. free: GiB on each, all by default."""
    everybody = range(len(kinds))
    links = {frozenset((a, b)) for a in everybody for b in everybody} if links is None else set(map(frozenset, links))
    return [Gpu(torch.device("cuda", place), name, capability, total,
                total if free is None else int(free[place] * GIB),
                {other: "no peer access" for other in everybody
                 if other != place and frozenset((place, other)) not in links})
            for place, (name, capability, total) in enumerate(kinds)]


def places(choice):
    return [device.index for device in choice.devices]


@pytest.mark.parametrize(("value", "wanted"), [("1", 1), ("8", 8), (5, 5), (2.0, 2), (ALL, None), (" ALL ", None)])
def test_what_a_user_asks_for(value, wanted):
    assert wanted_gpus(value) == wanted


@pytest.mark.parametrize("value", [0, -1, "0", "three", "", "2.0", "²", 1.5, True])
def test_nonsense_is_an_error_that_names_it(value):
    with pytest.raises(ValueError, match="gpus is") as caught:
        wanted_gpus(value)
    assert str(caught.value) == f'gpus is "{value}": use a number of GPUs from 1, or "all".'


def test_every_number_of_the_menu_shares_the_heads():
    eight = gpus([H200] * 8)
    for offered in OFFERED:
        choice = choose(wanted_gpus(offered), 40, eight)
        assert choice.fewer is None
        assert places(choice) == list(range(8 if offered == ALL else int(offered)))


@pytest.mark.parametrize("count", [10, 20, 40])
def test_larger_machines_follow_the_same_rule(count):
    assert places(choose(count, 40, gpus([H200] * 40))) == list(range(count))


@pytest.mark.parametrize(("wanted", "there", "used"), [(3, 8, 2), (6, 8, 5), (7, 8, 5), (16, 16, 10), (9, 9, 8)])
def test_heads_that_cannot_be_shared(wanted, there, used):
    choice = choose(wanted, 40, gpus([H200] * there))
    assert places(choice) == list(range(used))
    assert choice.fewer == (f"gpus is {wanted}, but the model's 40 attention heads cannot be shared equally by "
                            f"{wanted}: {used} GPUs are used.")


def test_the_miniature_has_two_heads():
    assert len(choose(2, 2, gpus([H200] * 4)).devices) == 2
    assert len(choose(None, 2, gpus([H200] * 4)).devices) == 2


def test_fewer_than_asked_for():
    assert choose(4, 40, gpus([H200] * 2)).fewer == "gpus is 4, but there are 2 here: 2 GPUs are used."
    assert choose(2, 40, gpus([H200])).fewer == "gpus is 2, but there is one here: 1 GPU is used."
    assert choose_here(2, 40, [torch.device("cpu")]).fewer == "gpus is 2, but there is none here: the CPU is used."


def test_a_number_that_is_not_there_and_one_that_does_not_share_the_heads():
    assert choose(8, 40, gpus([H200] * 7)).fewer == (
        "gpus is 8, but there are 7 here, and the model's 40 attention heads cannot be shared equally by 7: 5 GPUs are "
        "used.")


def test_all_is_what_there_is():
    assert choose(None, 40, gpus([H200])).fewer is None
    six = choose(None, 40, gpus([H200] * 6))
    assert len(six.devices) == 5
    assert str(six.fewer).startswith('gpus is "all", but ')


def test_cards_of_another_kind_are_left_out():
    mixed = choose(4, 40, gpus([H200, RTX, H200, H200]))
    assert places(mixed) == [0, 2]
    assert mixed.fewer == ("gpus is 4, but cuda:1 (NVIDIA GeForce RTX 5090, 32 GiB) is another kind of GPU than cuda:0 "
                           "(NVIDIA H200, 141 GiB): 2 GPUs are used.")


@pytest.mark.parametrize(("other", "used"), [
    (("NVIDIA H200", (9, 0), 140 * GIB), 2),
    (("NVIDIA H200", (9, 0), 96 * GIB), 1),
    (("NVIDIA H200", (9, 1), 141 * GIB), 1),
])
def test_the_same_kind_is_name_capability_and_memory(other, used):
    assert len(choose(2, 40, gpus([H200, other])).devices) == used


def test_each_pair_needs_peer_access():
    """Two islands of two, as on boards without a switch; the first GPU is always used."""
    islands = choose(4, 40, gpus([H200] * 4, links=[(0, 3), (1, 2)]))
    assert places(islands) == [0, 3]
    assert islands.fewer == "gpus is 4, but cuda:1 cannot be reached from cuda:0 (no peer access): 2 GPUs are used."
    assert places(choose(2, 40, gpus([H200] * 3, links=[(1, 2)]))) == [0]


def test_peer_access_has_to_go_both_ways():
    first, second = gpus([H200] * 2)
    assert len(choose(2, 40, [first, replace(second, apart={0: "no peer access"})]).devices) == 1
    assert len(choose(2, 40, [replace(first, apart={1: "no peer access"}), second]).devices) == 1


def test_a_set_that_reaches_each_other_is_found_among_others():
    """The first three in order do not all reach each other, a later set does."""
    links = [(0, 1), (0, 2), (0, 3), (0, 4), (2, 3), (2, 4), (3, 4)]
    assert places(choose(4, 40, gpus([H200] * 5, links=links))) == [0, 2, 3, 4]


def test_memory_is_asked_of_each_for_the_number_of_gpus():
    def needed(count):
        return (40 + 40 // count) * GIB

    assert places(choose(2, 40, gpus([H200] * 2, free=[60, 60]), needed)) == [0, 1]
    full = choose(2, 40, gpus([H200] * 2, free=[90, 59.5]), needed)
    assert full.fewer == ("gpus is 2, but about 60.0 GiB are needed on each GPU and 59.5 GiB are free on cuda:1: 1 GPU "
                          "is used.")
    assert places(choose(2, 40, gpus([H200] * 3, free=[90, 1, 90]), needed)) == [0, 2]
    assert places(choose(2, 40, gpus([H200] * 3, free=[1, 90, 90]), needed)) == [0]


def test_more_than_one_reason():
    choice = choose(4, 40, gpus([H200, RTX]))
    assert choice.fewer == ("gpus is 4, but there are 2 here, and cuda:1 (NVIDIA GeForce RTX 5090, 32 GiB) is another "
                            "kind of GPU than cuda:0 (NVIDIA H200, 141 GiB): 1 GPU is used.")


def test_without_any_gpu():
    with pytest.raises(ValueError, match="No GPU"):
        choose(1, 40, [])


def test_cpus_take_the_place_of_gpus():
    cpus = [torch.device("cpu")] * 4
    assert not any(gpu.apart for gpu in gpu_facts(cpus))
    assert choose_here(4, 40, cpus, lambda count: 2**60).devices == tuple(cpus)
    assert choose_here(None, 2, cpus).devices == tuple(cpus[:2])
    assert all_gpus(torch.device("cpu")) == [torch.device("cpu")]


def test_one_gpu_leaves_the_others_untouched():
    """A device that does not exist would fail if it was asked for anything."""
    assert choose_here(1, 40, [torch.device("cpu"), torch.device("cuda", 99)]).devices == (torch.device("cpu"),)
