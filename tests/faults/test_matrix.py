"""The table of cells itself: nothing is missing, nothing is left out without a reason, a seed repeats itself."""

from __future__ import annotations

import itertools

import pytest

from tests.faults import matrix
from tests.faults.cells import load
from tests.faults.faults import FAULTS
from tests.faults.laboratory import choices
from tests.faults.moments import MOMENTS


def test_every_pair_of_moment_and_fault_is_a_cell_or_is_left_out_for_a_reason():
    run = {(moment.name, fault.name) for moment, fault in matrix.pairs()}
    assert run.isdisjoint(matrix.LEFT_OUT)
    assert run | set(matrix.LEFT_OUT) == set(itertools.product(MOMENTS, FAULTS))
    assert all(len(reason) > 10 for reason in matrix.LEFT_OUT.values())


def test_rounds_hold_every_pair_once():
    played = [(moment.name, fault.name) for fault, moments in matrix.rounds() for moment in moments]
    assert sorted(played) == sorted((moment.name, fault.name) for moment, fault in matrix.pairs())


def test_the_forty_three_named_cells_are_all_there_and_say_what_has_to_come_of_them():
    names = [cell.name for cell in load()]
    assert len(set(names)) == len(names)
    assert {f"C{number}" for number in range(1, 44)} <= set(names)
    assert all(cell.fault and cell.moment and cell.expected for cell in load())


@pytest.mark.parametrize("name", FAULTS)
def test_every_fault_states_the_end_of_each_of_its_cells(name):
    assert all(
        matrix.expected(fault, moment.name).startswith(("completed", "cancelled"))
        for moment, fault in matrix.pairs()
        if fault.name == name
    )


def test_rounds_with_analyses_hold_each_of_their_pairs_once_and_none_that_is_left_out():
    played = [(moment.name, fault.name) for fault, moments in matrix.analysis_rounds() for moment in moments]
    assert len(set(played)) == len(played) == len(matrix.ANALYSIS_FAULTS) * len(matrix.ANALYSIS_MOMENTS)
    assert set(played) <= {(moment.name, fault.name) for moment, fault in matrix.pairs()}


def test_a_seed_gives_the_same_random_rounds_again():
    assert list(choices(7, 50)) == list(choices(7, 50))
    assert list(choices(7, 50)) != list(choices(8, 50))


def test_random_rounds_are_cells_of_the_matrix():
    pairs = {(moment.name, fault.name) for moment, fault in matrix.pairs()}
    assert all((moment, choice.fault) in pairs for choice in choices(1, 200) for moment in choice.moments)
