"""What the charts refuse by name: the entries of their refused.yaml."""

from __future__ import annotations

import yaml
from tests.charts.conftest import ROOT

# Where each chart's values stand below the meta chart's.
CHARTS = {
    ROOT / "mybinder": "",
    ROOT / "charts/binderhub": "binderhub.",
    ROOT / "charts/binderhub/charts/jupyterhub": "binderhub.jupyterhub.",
    ROOT / "charts/nginx-ingress": "nginx-ingress.",
    ROOT / "charts/kube-lego": "kube-lego.",
}
ENTRIES: list[tuple[str, dict[str, str]]] = [
    (prefix + entry["key"], entry)
    for chart, prefix in CHARTS.items()
    for entry in yaml.safe_load((chart / "refused.yaml").read_text())["keys"]
]
# Maps of parts that are not here: what stands in one is refused unless `enabled: false` stands beside it.
PARTS = [path for path, entry in ENTRIES if entry.get("when") == "unless off"]
