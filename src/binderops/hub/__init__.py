"""What is ours inside the hub: the start hook, the binder's mixin, and the page for whose server is gone."""

from pathlib import Path

TEMPLATES = str(Path(__file__).parent / "templates")
"""Templates that stand before JupyterHub's own, after the operator's."""
