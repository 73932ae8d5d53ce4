"""What a source with files may be read by: nothing may need a row that the stream never sees."""

from __future__ import annotations

from collections.abc import Mapping

from headrace.operators.streams.stream import Origin, Stream, lineage, live, roots, starts_ms
from headrace.pipelines.document import Document
from headrace.pipelines.schema import PipelineForm

__all__ = ["check_handed_over"]


def check_handed_over(
    form: PipelineForm, origins: Mapping[str, Origin], document: Document
) -> None:
    """Refuse decisions and outcomes that no topic brings, and streams that look back into files."""
    for section, name in (("decision", form.decision.source), ("outcome", form.outcome.source)):
        if name in origins and not live(origins[name]):
            asked = f"asked for the {section}s of {name!r}"
            do = "say with `live_from:` from when on its topic counts"
            found = "files are all that it has, and none comes live"
            raise document.refuse((section, "source"), asked, found, do)
    for name, stream in origins.items():
        if not isinstance(stream, Stream):
            continue
        below, asked = roots(stream), f"asked for the stream {name!r}"
        if len({root.live for root in below}) > 1:
            alone = next(root.name for root in below if not root.live)
            found = f"{alone!r} is files alone, and others below it have topics"
            do = f"give {alone!r} a `live_from:`"
            raise document.refuse(("streams", name), asked, found, do, key=True)
        looks_back = [
            step.name for each in lineage(stream).values() for step in each.steps if step.remembers
        ]
        if looks_back and live(stream) and starts_ms(stream):
            found = f"its {looks_back[0]} looks back, into files that the stream does not see"
            do = f"leave {looks_back[0]} out, or have the whole history in the topic"
            raise document.refuse(("streams", name), asked, found, do, key=True)
