"""The linear assignment problem, solved exactly for many small cost matrices at once.

Up to LOCKSTEP_MAX rows all matrices go through the Hungarian method together: rows enter one by one, each
along a shortest augmenting path under prices that keep every reduced cost at or above zero, and one step of
the search is a handful of array operations on all matrices whose path still grows. Beyond that SciPy solves
one matrix after the other.
Source: Jonker and Volgenant, Computing 38 (1987) 325, whose path search SciPy has too; taking the matrices
together is ours.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from scipy.optimize import linear_sum_assignment

from .requests import BoolArray, FloatArray, IntArray, chunks

LOCKSTEP_MAX: Final = 8


def cheapest_assignments(cost: FloatArray) -> FloatArray:
    """Least sum of costs over all assignments of the rows to distinct columns, for each matrix.

    Shapes: cost (W, m, n), n >= m -> (W,). Units and errors: as `assigned_columns`.
    """
    chosen = np.take_along_axis(cost, assigned_columns(cost)[:, :, None], axis=2)
    return np.asarray(chosen.sum(axis=(1, 2)), dtype=np.float64)


def assigned_columns(cost: FloatArray) -> IntArray:
    """The column that each row has in a cheapest assignment; the same one every time among equally cheap.

    Shapes: cost (W, m, n), n >= m -> (W, m). Units: any, and costs of either sign.
    Errors: ValueError on another shape, fewer columns than rows, a cost that is not finite.
    """
    if cost.ndim != 3 or cost.shape[1] > cost.shape[2]:
        raise ValueError(f"costs have shape {cost.shape}: want (matrices, rows, columns), columns >= rows")
    W, m, n = cost.shape
    columns = np.empty((W, m), dtype=np.int64)
    for part in chunks(W, max(1, m * n)):
        if not np.isfinite(cost[part]).all():
            raise ValueError("a cost of an assignment is not finite")
        if m > LOCKSTEP_MAX:
            columns[part] = [linear_sum_assignment(one)[1] for one in cost[part]]
            continue
        matching = _Matching(cost[part])
        for row in range(m):
            matching.enter(row)
        columns[part] = matching.column
    return columns


class _Matching:
    """Assignments that grow by the same row in every matrix; its arrays are changed in place.

    `cost - row_price - column_price` is never below zero, and zero for a row and its column.
    Shapes: `cost` (W, m, n); `row_price` and `column`, which each row has, (W, m); `column_price` and
    `owner`, the row that has each column, or -1, (W, n).
    """

    def __init__(self, cost: FloatArray) -> None:
        W, m, n = cost.shape
        self.cost = cost
        self.row_price, self.column_price = np.zeros((W, m)), np.zeros((W, n))
        self.column = np.full((W, m), -1, dtype=np.int64)
        self.owner = np.full((W, n), -1, dtype=np.int64)

    def enter(self, new: int) -> None:
        """Give row `new` a column, moving others on, along the shortest path to a column that nobody has.

        Dijkstra's algorithm: each round closes the nearest column, and goes on from its owner if it has one.
        """
        W, _, n = self.cost.shape
        at = np.arange(W)  # the matrices whose path still grows: the arrays below hold these and no others
        row, length = np.full(W, new), np.zeros(W)
        distance, came_from = np.full((W, n), np.inf), np.zeros((W, n), dtype=np.int64)
        closed = np.zeros((W, n), dtype=np.bool_)
        while at.size:
            each = np.arange(at.size)
            reached = self.cost[at, row] - self.column_price[at]
            reached += (length - self.row_price[at, row])[:, None]
            shorter = (reached < distance) & ~closed
            np.copyto(distance, reached, where=shorter)
            np.copyto(came_from, row[:, None], where=shorter)
            nearest = np.where(closed, np.inf, distance).argmin(axis=1)
            length, row = distance[each, nearest], self.owner[at, nearest]
            end, on = row < 0, row >= 0
            self._reprice(new, at[end], length[end], distance[end], closed[end])
            self._move(new, at[end], nearest[end], came_from[end])
            closed[each, nearest] = True
            at, row, length = at[on], row[on], length[on]
            distance, came_from, closed = distance[on], came_from[on], closed[on]

    def _reprice(
        self, new: int, at: IntArray, length: FloatArray, distance: FloatArray, closed: BoolArray
    ) -> None:
        """Prices under which the path costs nothing: only closed columns and their owners change."""
        self.row_price[at, new] += length
        w, column = np.nonzero(closed)
        nearer = length[w] - distance[w, column]
        self.column_price[at[w], column] -= nearer
        self.row_price[at[w], self.owner[at[w], column]] += nearer

    def _move(self, new: int, at: IntArray, column: IntArray, came_from: IntArray) -> None:
        """Walk the path back from its last column: each row on it takes the column that it reached."""
        while at.size:
            row = came_from[np.arange(at.size), column]
            left = self.column[at, row]
            self.column[at, row], self.owner[at, column] = column, row
            on = row != new
            at, column, came_from = at[on], left[on], came_from[on]
