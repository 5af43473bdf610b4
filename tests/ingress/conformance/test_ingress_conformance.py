"""The table of `scenarios`, over the controller's own program on loopback."""

from __future__ import annotations

import pytest
from tests.ingress.conformance.scenarios import SCENARIOS, Target, check, check_load_balancing


@pytest.mark.parametrize("name", SCENARIOS)
async def test_scenario(target: Target, name: str) -> None:
    await check(target, SCENARIOS[name])


async def test_load_balancing_reaches_all_ten_pods_in_a_hundred_requests(target: Target) -> None:
    await check_load_balancing(target)
