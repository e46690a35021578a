"""One disk on the Home screen: who it is, its map to scale, and what its partitions are."""

from __future__ import annotations

from collections.abc import Sequence

from textual.content import Content
from textual.reactive import reactive
from textual.widget import Widget

from rescue.model.survey import DiskSurvey
from rescue.planning.words import plain
from rescue.tui.describe import disk_details, disk_headline, disk_name, partition_words
from rescue.tui.disk_map import Stretch, map_line, segments
from rescue.tui.theme import BAD, QUIET, STRONG, WARN
from rescue.units import human_size

_LEGEND_LINES = 3


def foreground(colour: str) -> str:
    """The colour to draw with where a background would be ``colour``: the console's blue and red are too dark on black."""
    return {"ansi_blue": "ansi_bright_blue", "ansi_red": "ansi_bright_red"}.get(colour, colour)


def _stretch(stretch: Stretch, protected: bool) -> tuple[str, str]:
    colour = "ansi_white" if protected else stretch.colour
    if not stretch.is_mark:
        return (stretch.text, foreground(colour))
    return (stretch.text, f"{'ansi_bright_white' if colour == 'ansi_blue' else 'ansi_black'} on {colour}")


def map_content(survey: DiskSurvey, width: int, *, marks: bool = True) -> Content:
    """The map as coloured text of ``width`` cells; the rescue medium's without colour. Without ``marks``: for a second line."""
    return stretches_content(map_line(survey, width), marks=marks, protected=survey.is_rescue_medium)


def stretches_content(line: Sequence[Stretch], *, marks: bool = True, protected: bool = False) -> Content:
    """A map line as coloured text."""
    if not marks:
        line = [Stretch("█" * len(stretch.text), stretch.colour) if stretch.is_mark else stretch for stretch in line]
    return Content.assemble(*(_stretch(stretch, protected) for stretch in line))


def heading(survey: DiskSurvey, width: int) -> Content:
    """Model and size at the left, what is on it at the right, the details between them where there is room."""
    headline = disk_headline(survey)
    style = BAD if survey.unreadable else QUIET if survey.is_rescue_medium else WARN if headline.startswith("locked") else STRONG
    name_style = QUIET if survey.is_rescue_medium else STRONG
    size = "" if survey.unreadable and not survey.disk.size else f"  {human_size(survey.disk.size)}"
    left = Content.assemble((disk_name(survey.disk), name_style), (size, name_style))
    details = f"  {disk_details(survey.disk)}"
    if left.cell_length + len(details) + len(headline) + 2 > width:
        details = f"  {plain(survey.disk.path)}" if disk_name(survey.disk) != survey.disk.path else ""
    left = Content.assemble(left, (details, QUIET))
    room = width - len(headline) - 2
    if left.cell_length > room:
        left = left.truncate(max(room, 1), ellipsis=True)
    space = " " * max(width - left.cell_length - len(headline), 1)
    return Content.assemble(left, (space, ""), (headline, style)).truncate(width, ellipsis=True)


def legend(survey: DiskSurvey, width: int) -> list[Content]:
    """What the numbers on the map mean, flowing over a few lines."""
    if survey.unreadable:
        return [Content.styled(plain(survey.unreadable), QUIET).truncate(width, ellipsis=True)]
    parts = [part for part in segments(survey) if part.number >= 0]
    entries = [(f"{part.mark}{' ' if part.mark else ''}", part.colour, partition_words(survey, part.number)) for part in parts]
    free = sum(part.size for part in segments(survey) if part.number < 0)
    if free:
        entries.append(("", "ansi_white", f"not partitioned {human_size(free)}" if entries else "nothing on it"))
    lines: list[list[tuple[str, str]]] = [[]]
    used = 0
    for index, (mark, colour, words) in enumerate(entries):
        length = len(mark) + len(words) + 2 + (3 if lines[-1] else 0)
        if lines[-1] and used + length > width:
            if len(lines) == _LEGEND_LINES:
                lines[-1].append((f" … {len(entries) - index} more", QUIET))
                break
            lines.append([])
            used = 0
            length -= 3
        if lines[-1]:
            lines[-1].append(("   ", ""))
        square = "■" if mark or index < len(parts) else "· "
        lines[-1] += [(square, QUIET if survey.is_rescue_medium else foreground(colour)), (f"{mark}{words}", QUIET)]
        used += length
    shown = [Content.assemble(*line).truncate(width, ellipsis=True) for line in lines]
    notes = [(f"⚠ {plain(problem)}", WARN) for problem in survey.notices]
    if survey.protections and not survey.is_rescue_medium:
        notes.append((f"▪ protected: {'; '.join(plain(protection.reason) for protection in survey.protections)}", QUIET))
    return shown + [Content.styled(*note).truncate(width, ellipsis=True) for note in notes]


class DiskPanel(Widget):
    """The picture of one disk."""

    map_height: reactive[int] = reactive(1, layout=True)  # 1 or 2 lines

    def __init__(self, survey: DiskSurvey) -> None:
        super().__init__()
        self.survey = survey

    def show(self, survey: DiskSurvey) -> None:
        """Draw another state of it."""
        if survey != self.survey:
            self.survey = survey
            self.refresh(layout=True)

    def get_content_width(self, container: object, viewport: object) -> int:
        """As wide as there is room: the map is to scale."""
        return self.size.width

    def render(self) -> Content:
        """Heading, map, legend."""
        width = max(self.size.width, 20)
        map_lines = [map_content(self.survey, width), map_content(self.survey, width, marks=False)][: self.map_height]
        return Content("\n").join([heading(self.survey, width), *map_lines, *legend(self.survey, width)])

    def get_content_height(self, container: object, viewport: object, width: int) -> int:
        """Lines: the heading, the map, the legend."""
        return 1 + self.map_height + len(legend(self.survey, max(width, 20)))
