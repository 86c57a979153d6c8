"""The same world as the pages'."""

from tests.deployments.views.conftest import address_match, as_bob, reader

__all__ = ["address_match", "as_bob", "reader"]
