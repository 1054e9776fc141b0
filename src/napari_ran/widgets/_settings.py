"""The plugin's page in napari's preferences, where napari has one."""

from __future__ import annotations

import logging
from typing import Any

logger = logging.getLogger(__name__)

DEFAULTS: dict[str, dict[str, Any]] = {
    "start": {"remember": True, "dock_keys": True, "sample": "sliding-phantom"},
}
"""What is set where the user, or an older napari, says nothing; the same as in the manifest (a test compares them)."""


def setting(section: str, name: str) -> Any:
    """Return a value of the plugin's settings; the default where napari has no such page or its file is damaged."""
    default = DEFAULTS[section][name]
    try:
        value = from_napari(section, name)
    except Exception:  # a preference is never worth a widget that does not open
        logger.debug("no plugin settings from napari", exc_info=True)
        return default
    return value if isinstance(value, type(default)) else default


def from_napari(section: str, name: str) -> Any:
    """Return what napari's preferences hold.

    Raises
    ------
    Exception
        Whatever napari raises: it may be too old for plugin settings, or not know the plugin.
    """
    from napari.settings import get_plugin_settings

    return getattr(getattr(get_plugin_settings("napari-ran"), section), name)
