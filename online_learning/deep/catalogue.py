"""The nets by their names."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from headrace.online_learning.deep.dcn_v2 import DcnV2
from headrace.online_learning.deep.deep_fm import DeepFm
from headrace.online_learning.deep.dlrm import Dlrm
from headrace.online_learning.deep.mmoe import Mmoe
from headrace.online_learning.deep.net import Net
from headrace.online_learning.deep.settings import NETS, Deep
from headrace.online_learning.deep.wide_and_deep import WideAndDeep

__all__ = ["net_of"]

_KINDS: Mapping[str, type[Net]] = dict(
    zip(NETS, (DcnV2, DeepFm, Dlrm, Mmoe, WideAndDeep), strict=True)
)


def net_of(settings: Deep) -> Net:
    """Make the net with the weights that the seed draws; torch's own generator is not touched."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        return _KINDS[settings.net](settings)
