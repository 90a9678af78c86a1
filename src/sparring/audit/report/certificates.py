"""The certificates of a report, read from the records."""

from __future__ import annotations

from collections import Counter
from statistics import median

from ...threats import Norm
from ..records.certificates import verdicts
from ..records.database import Records
from ..records.statistics import share
from .model import CertificatePart, CertificationPart, ImageCertificate


def certificate_part(records: Records, norm: Norm, eps: float) -> CertificatePart | None:
    """Return the verdicts at a radius; None where the plan asks for none there."""
    if norm not in {threat.norm for threat in records.plan.certified_threats}:
        return None
    found = list(verdicts(records, norm, eps))
    counts = Counter(one.word for one in found)
    gaps = [one.gap for one in found if one.gap is not None]
    return CertificatePart(
        proven=share(counts["proven"], len(found)),
        broken=counts["broken"],
        open=counts["open"],
        contradicted=counts["contradicted"],
        methods=dict(Counter(one.method for one in found if one.word == "proven").most_common()),
        median_gap=median(gaps) if gaps else None,
        seconds=records.scalar("SELECT TOTAL(seconds) FROM certificate WHERE norm = ? AND eps = ?", norm, eps),
        images=[
            ImageCertificate(
                sample=one.sample,
                name=one.name,
                verdict=one.word,
                method=one.method,
                bound=one.bound,
                gap=one.gap,
                seconds=one.seconds,
                domains=one.domains,
            )
            for one in found
        ],
    )


def certification_part(records: Records) -> CertificationPart | None:
    """Return how certificates were made; None where none were asked for."""
    plan = records.plan
    if not plan.certify:
        return None
    from ...defenses.certification.verify import ASSUMPTIONS  # which imports scipy

    return CertificationPart(
        timeout=plan.certify_timeout, assumptions=ASSUMPTIONS, uncertified=list(plan.uncertified_threats)
    )
