"""Whether a result of the scenes job may be replaced by a worker."""

from maggjob.inputs.plain_json import load_json
from maggjob.model.scene_items import is_whole
from maggjob.storage.folder import Folder


def keeps_better(folder: Folder, name: str, digest: str) -> bool:
    """Return True if a folder has a complete result of the same configuration, which a partial one must not replace.

    Parameters
    ----------
    folder : Folder
        Folder of the region's results.
    name : str
        Name of the result.
    digest : str
        Digest of the configuration.
    """
    content = folder.find(f"{name}.json")
    try:
        item = {} if content is None else load_json(content)
        own = item.get("properties", {})
        same = (own.get("maggjob:digest"), own.get("maggjob:state")) == (digest, "complete")
        return same and is_whole(item, name, folder.sizes())
    # A damaged item is replaced.
    except (ValueError, AttributeError, TypeError):
        return False
