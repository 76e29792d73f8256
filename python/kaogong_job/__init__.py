"""What a job uses to reach the server that started it: its pinned inputs, through restarts of the server.

Only the standard library is used, so that it works in any environment.

    import kaogong_job
    for item in kaogong_job.dataset("digits").items(split="train"):
        item.name, item.label, item.content
"""

from kaogong_job.data import Dataset, Item
from kaogong_job.server import Gone, Refused, reach_server_directly

__all__ = ["Dataset", "Gone", "Item", "Refused", "dataset", "reach_server_directly"]


def dataset(alias):
    """The dataset version that the job's inputs name `alias`. Raises KeyError when there is none."""
    return Dataset.of_input(alias)
