"""Numbers of packs of indexes that a run makes and reads, for any number of workers."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from maggjob.planning.index_counts import IndexCounts
from maggjob.planning.packs import Pairs, cut_packs, order_granules, pack_reads, pack_size


@dataclass(frozen=True)
class PackCounts:
    """The numbers of index objects of a plan, as a function of the number of workers."""

    names: Sequence[str]
    """Ids of all granules of the catalog."""
    windows: Sequence[Pairs]
    """Positions of the granules of each planned cell, by window."""
    fresh: bool = True
    """False if an earlier attempt has left the indexes."""
    known: dict[int, IndexCounts] = field(default_factory=dict, compare=False, repr=False)
    """The numbers, by size of the packs."""
    order: list[int] = field(default_factory=list, compare=False, repr=False)
    """Positions of all granules, neighbours next to each other."""

    def __call__(self, workers: int) -> IndexCounts:
        """Return the numbers of a run with some number of workers."""
        if not self.order:
            self.order.extend(order_granules(self.names, self.windows))
        size = pack_size(len(self.order), workers)
        if size not in self.known:
            packs = cut_packs(self.order, workers)
            there = (0, len(packs)) if self.fresh else (len(packs), 0)
            self.known[size] = IndexCounts(len(packs), *there, pack_reads(packs, self.windows))
        return self.known[size]
