"""Options of a restricted service: --access, --top-k, --decimals, --encode, --rate, --lock-out."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ...errors import AccessError, ConfigError, nearest

if TYPE_CHECKING:
    from ...error_rates import ScoreMap
    from ...targets import Codec, Target
    from ...targets.deployment import Account
    from ...zoo import LoadedModel

ACCESS = ("scores", "decisions")
CODECS = ("uint8", "jpeg:QUALITY", "resize:SIZE")


@dataclass(frozen=True)
class ServiceOptions:
    """The options of a service, as they were given."""

    access: str | None = None
    top_k: int | None = None
    decimals: int | None = None
    encode: tuple[str, ...] = ()
    rate: float | None = None
    lock_out: int | None = None
    scores: ScoreMap | None = None  # of a verifier, which publishes these, rounded to `decimals`

    def around(self, *views: LoadedModel) -> list[LoadedModel]:
        """Return views of one model behind such a service, with one account; as they are where nothing was said."""
        from ...targets.deployment import Account

        account = Account()
        if replace(self, scores=None) == ServiceOptions():
            return list(views)
        return [replace(view, target=self.guarded(view.target, account)) for view in views]

    def guarded(self, target: Target[Any], account: Account) -> Target[Any]:
        from ...access import Decisions, Scores
        from ...targets import InputCodec, LockOut, PublishedScores, RateLimited, Restricted, TruncatedScores

        if self.access not in (None, *ACCESS):
            raise ConfigError(f"--access {self.access} is unknown ({', '.join(ACCESS)}).{nearest(self.access, ACCESS)}")
        codecs = [parse_codec(text) for text in self.encode]
        if codecs:
            target = InputCodec(target, *codecs)
        if self.scores is not None and self.decimals is not None and self.top_k is None:
            target = PublishedScores(target, self.scores, decimals=self.decimals)
        elif self.top_k is not None or self.decimals is not None:
            if not issubclass(target.access, Scores):
                raise AccessError(f"--top-k and --decimals are about scores, and {target.name} gives labels only")
            target = TruncatedScores(target, top=self.top_k, decimals=self.decimals)
        wanted = {None: target.access, "scores": Scores, "decisions": Decisions}[self.access]
        if not issubclass(target.access, wanted):
            raise AccessError(f"--access {self.access} is more than {target.name} gives ({target.access.__name__})")
        target = target if wanted is target.access else Restricted(target, wanted)
        target = target if self.rate is None else RateLimited(target, self.rate)
        return target if self.lock_out is None else LockOut(target, self.lock_out, account)


def parse_codec(text: str) -> Codec:
    """`uint8`, `jpeg:75` or `resize:160`."""
    from ...targets import JPEG, Bytes, Resize

    name, _, number = text.partition(":")
    if text == "uint8":
        return Bytes()
    if name in ("jpeg", "resize") and number.isdecimal():
        return JPEG(int(number)) if name == "jpeg" else Resize((int(number), int(number)))
    known = [form.partition(":")[0] for form in CODECS]
    raise ConfigError(f"--encode {text!r} is unknown; write {', '.join(CODECS)}.{nearest(name, known)}")
