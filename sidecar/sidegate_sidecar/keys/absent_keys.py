"""The `kid`s that an issuer was asked for and did not have."""

from collections import OrderedDict

from sidegate_sidecar.keys.public_keys import MAX_KEY_ID_LENGTH

MAX_REMEMBERED = 1024  # with 256 characters each, some 300 kB per issuer


class AbsentKeys:
    """Remembers the `kid`s last found absent, and how many is fixed.

    No evidence about a token: it only decides who may spend the bucket's last token. A client that keeps sending an old
    `kid` would otherwise take each one, and a key that really is new would find the bucket empty.
    """

    def __init__(self) -> None:
        self._key_ids: OrderedDict[str, None] = OrderedDict()

    def __contains__(self, key_id: str) -> bool:
        return key_id in self._key_ids

    def __len__(self) -> int:
        return len(self._key_ids)

    def add(self, key_id: str) -> None:
        """Remember one; past the bound, forget the one longest unheard of. No key has a `kid` of over 256 characters,
        so none such is worth remembering.
        """
        if len(key_id) > MAX_KEY_ID_LENGTH:
            return
        self._key_ids[key_id] = None
        self._key_ids.move_to_end(key_id)
        if len(self._key_ids) > MAX_REMEMBERED:
            self._key_ids.popitem(last=False)
