"""Trying again within one process, for seconds at the most; longer waits are rows with a due time. tenacity's home."""

from __future__ import annotations

from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_attempt, wait_fixed

from pipeline.errors import StaleVersion, StoreFull


def until_fresh() -> AsyncRetrying:
    """Decide again while the touchpoint was changed under the decision; the new snapshot is a moment away."""
    return AsyncRetrying(
        retry=retry_if_exception_type(StaleVersion), wait=wait_fixed(0.05), stop=stop_after_attempt(100), reraise=True
    )


def until_stored() -> AsyncRetrying:
    """Store again while the disk is full, however long that takes: what was done to the world cannot be undone."""
    return AsyncRetrying(retry=retry_if_exception_type(StoreFull), wait=wait_fixed(1.0), reraise=True)
