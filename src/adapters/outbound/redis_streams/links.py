"""The link that `REDIS_URL` and `REDIS_CONFIRM` ask for."""

from adapters.outbound.redis_streams.cluster import ClusterLink
from adapters.outbound.redis_streams.confirm import Confirm, pipeline_to
from adapters.outbound.redis_streams.link import Link
from adapters.outbound.redis_streams.marks import OneMark
from adapters.outbound.redis_streams.sentinel import SentinelLink, Sentinels, admit_primary
from adapters.outbound.redis_streams.server import ServerLink
from adapters.outbound.redis_streams.target import Kind, Target


def make_link(target: Target, confirm: Confirm, prefix: str) -> Link:
    """Make the link; it connects when it is used."""
    match target.kind:
        case Kind.CLUSTER:
            return ClusterLink(
                target, lambda address, marks: pipeline_to(address, confirm, prefix, marks)
            )
        case Kind.SENTINEL:
            sentinels = Sentinels(target)
            pipeline = pipeline_to(
                target.server,
                confirm,
                prefix,
                OneMark(),
                find=sentinels.primary,
                admit=(admit_primary,),
            )
            return SentinelLink(pipeline, sentinels)
        case Kind.SERVER:
            return ServerLink(pipeline_to(target.server, confirm, prefix, OneMark()))
