"""The coordinates of the table of distances."""

import pytest
import torch

from rllib_elmur.model.memory import RotatedTable

PATTERNS = {
    "one distance": lambda i, n: i == n // 3,
    "all distances": lambda i, n: i >= 0,
    "the farther half": lambda i, n: i > n // 2,
    "every other one": lambda i, n: i % 2 == 0,
}


@pytest.mark.parametrize("n", [4, 9, 66, 130])
def test_it_is_orthogonal(n):
    matrix = RotatedTable(n, 1).matrix.double()
    torch.testing.assert_close(matrix @ matrix.T, torch.eye(n).double(), rtol=0, atol=1e-6)


@pytest.mark.parametrize("pattern", PATTERNS.values(), ids=PATTERNS)
@pytest.mark.parametrize("n", [8, 66, 130])
def test_a_step_of_equal_size_in_all_coordinates_moves_every_pattern_far(pattern, n):
    wanted = pattern(torch.arange(n), n).float()
    # Adam's first step: the sign of the gradient of the pattern, in each coordinate.
    table = RotatedTable(n, 1)
    with torch.no_grad():
        table.coordinates.copy_((table.matrix.T @ wanted).sign()[:, None])
        step = table()[:, 0]
    # Its length is that of any step; most of it is along the pattern.
    assert step.norm() < n**0.5 * 1.001
    assert step @ wanted / wanted.norm() > 0.7 * n**0.5


def test_the_matrix_is_no_part_of_what_is_saved():
    assert set(RotatedTable(6, 2).state_dict()) == {"coordinates"}
