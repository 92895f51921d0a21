"""`terrarium play`: a dreamed world in the browser, for several visitors at once."""

from __future__ import annotations

from terrarium.play.listen import serve
from terrarium.play.server import create_app
from terrarium.play.sessions import PlayableWorld

__all__ = ["PlayableWorld", "create_app", "serve"]
