"""Files: look around in a partition, search, mark what shall be copied out."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from typing import ClassVar, Final

from textual import on
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Input, Static

from rescue.errors import RescueError
from rescue.filesystems.files.tree import Entry, Kind
from rescue.model.progress import CancelToken
from rescue.model.text import shown
from rescue.planning.words import plain
from rescue.records import replace
from rescue.services import FileBrowser, Listing, Machine
from rescue.tui.dialogs import Notice, Question
from rescue.tui.flow import Flow
from rescue.tui.frame import BACK_KEY, HELP_KEY, Body, RescueScreen
from rescue.tui.screens.files_target import FilesTargetScreen
from rescue.tui.screens.files_words import entry_lines, marked_lines, marked_words, source_words
from rescue.tui.theme import QUIET, STRONG, WARN
from rescue.tui.widgets.bars import KeyHint
from rescue.tui.widgets.file_list import FileList, shortened
from rescue.tui.widgets.lines import BLANK, Lines

_FOUND_LIMIT: Final = 1000


class OpenedFiles:
    """The files of one partition, open as long as this is not closed. Made and closed in threads."""

    def __init__(self, machine: Machine, flow: Flow) -> None:
        source = flow.image or flow.source
        if source is None or flow.volume is None:
            raise RescueError("Nothing was chosen to look into.")
        self._lock = threading.Lock()
        self._context: AbstractContextManager[FileBrowser] | None = machine.open_files(
            source, flow.volume.partition, flow.inside, salvage=flow.salvage
        )
        self.browser = self._context.__enter__()
        self.root = self.browser.folder("")

    def close(self) -> None:
        """Closing twice is allowed; whoever comes second waits until it is done."""
        with self._lock:
            context, self._context = self._context, None
            if context is not None:
                context.__exit__(None, None, None)


class FilesScreen(RescueScreen):
    """Two panes: a folder, what a search found or what is marked; and what is known of the entry under the highlight."""

    HEADING = "Files"
    HELP = (
        "Enter opens a folder, Backspace goes to the one above. Space marks a file or a folder with all that is in it; "
        "marks stay while you look elsewhere. C copies out what is marked, or the entry under the highlight.\n\n"
        "/ searches all of the partition for names that hold the words you type, whatever their case; what is found appears as "
        "it is found. Enter on it goes to where it is. M shows what is marked.\n\n"
        "✗ and yellow: this cannot be read; the right side says why. Characters in names that no screen can show are written "
        "like \\x1b."
    )
    KEYS = (
        HELP_KEY,
        BACK_KEY,
        KeyHint("Space", "Mark", "screen.mark"),
        KeyHint("/", "Search", "screen.search"),
        KeyHint("M", "Marked", "screen.marked"),
        KeyHint("C", "Copy out", "screen.copy"),
        KeyHint("Bksp", "Up", "screen.up"),
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("slash", "search", show=False),
        Binding("m", "marked", show=False),
        Binding("c", "copy", show=False),
    ]

    def __init__(self, flow: Flow) -> None:
        super().__init__()
        self._flow = flow
        self._opened: OpenedFiles | None = None
        self._left = False
        self._folder: Entry | None = None
        self._listing = Listing(())
        self._marked: dict[str, Entry] = {}
        self._mode = "folder"  # or "found", "marked"
        self._token = CancelToken()  # of the search
        self._wanted = 0  # number of the folder that was asked for last
        self._found = 0
        self._untold = ""  # what is to be said of these files, until it was

    def heading(self) -> str:
        """What is looked into."""
        source, volume = self._flow.image or self._flow.source, self._flow.volume
        name = source_words(source) if source else ""
        inside = f"/{plain(self._flow.inside)}" if self._flow.inside else ""
        return f"Files: {name}" + (f", partition {volume.partition}{inside}" if volume and volume.partition else inside)

    def content(self) -> Iterable[Widget]:
        """Where we are, the search, two panes."""
        yield Static("", id="where", classes="note")
        yield Input(placeholder="words of the name", id="words")
        yield Static("", id="state", classes="note")
        yield Horizontal(FileList(name="list"), Body(Lines(name="about"), name="about-pane"), id="panes")

    def on_mount(self) -> None:
        """Open the partition in a thread."""
        self.query_one("#words").display = False
        self.query_one(FileList).focus()
        self._say("Opening …")
        machine, flow = self._flow.machine or self.rescue.machine, self._flow
        # Through the application: when this screen is left meanwhile, somebody has to close it.
        self.rescue.in_thread(lambda: OpenedFiles(machine, flow), self._has_opened, self._not_opened)

    def on_unmount(self) -> None:
        """Left: nothing is read any more."""
        self._left = True
        self._token.cancel()
        if self._opened is not None:
            self.rescue.in_thread(self._opened.close, lambda _: None, self.rescue.say_failed)

    def _has_opened(self, opened: OpenedFiles) -> None:
        if self._left:
            self.rescue.in_thread(opened.close, lambda _: None, self.rescue.say_failed)
            return
        self._opened = opened
        if self._flow.opened is not None:
            self._flow.opened.first(opened.close)
        self.call_later(self._begin)

    def _not_opened(self, error: RescueError) -> None:
        if not self._left:
            self.call_later(self.failed, error)

    def _begin(self) -> None:
        assert self._opened is not None
        self._untold = "\n\n".join(shown(note) for note in self._opened.browser.notes)
        self._go(self._opened.root)

    def failed(self, error: RescueError) -> None:
        """Say so, here too: the list stays as it was."""
        self._say("" if self._folder else "These files cannot be shown. Esc goes back.")
        super().failed(error)

    def _say(self, text: str, style: str = QUIET) -> None:
        state = self.query_one("#state", Static)
        state.update(Content.styled(text, style))
        state.display = bool(text)

    # Folders

    def _go(self, folder: Entry, at: str = "") -> None:
        """Show a folder, with the highlight on the path ``at``."""
        browser = self._browser
        if browser is None:
            return
        self._end_search()
        self._wanted += 1
        number = self._wanted
        self._say(f"Reading {shown(folder.name) or 'the top folder'} …")

        def read(listing: Listing) -> None:
            if number == self._wanted:
                self._show_folder(folder, listing, at)
                self._tell_notes()

        self.in_thread(lambda: browser.children(folder), read)

    def _tell_notes(self) -> None:
        """Once, over the first folder."""
        notes, self._untold = self._untold, ""
        if notes:
            self.rescue.push_screen(Notice("To know about these files", notes, bad=False))

    @property
    def _browser(self) -> FileBrowser | None:
        return self._opened.browser if self._opened else None

    def _show_folder(self, folder: Entry, listing: Listing, at: str) -> None:
        self._mode, self._folder, self._listing = "folder", folder, listing
        if listing.problem:
            self._say(f"✗ This folder is damaged, so names may be missing. {shown(listing.problem)}", WARN)
        else:
            self._say("" if listing.entries else "This folder is empty.")
        self._draw_where()
        self._list.show(listing.entries, self._marked, at=at)
        self._draw_details(self._list.highlighted, "")

    @property
    def _list(self) -> FileList:
        return self.query_one(FileList)

    def _draw_where(self) -> None:
        match self._mode:
            case "found":
                left, right = "Found in all folders:", ""
            case "marked":
                left, right = "Marked, to be copied out:", f"{len(self._marked)}"
            case _:
                left = f"/{shown(self._folder.path)}" if self._folder else ""
                count = len(self._listing.entries)
                right = "1 entry" if count == 1 else f"{count} entries"
        room = self.size.width - 2
        space = max(room - len(right) - 2, 8)
        text = shortened(left, space, is_path=True)
        self.query_one("#where", Static).update(Content.assemble((text, STRONG), ("  ", ""), (right, QUIET)))

    def on_resize(self) -> None:
        """Names get the room there is."""
        self._draw_where()

    @on(FileList.Opened)
    def _open(self, event: FileList.Opened) -> None:
        entry = event.entry
        if self._mode != "folder":
            self._go_to(entry)
        elif entry.kind is Kind.FOLDER and entry.problem:
            self.rescue.push_screen(Notice("This folder cannot be read", f"{shown(entry.path)}\n\n{shown(entry.problem)}"))
        elif entry.kind is Kind.FOLDER:
            self._go(entry)
        else:
            self._tell(entry)

    def _tell(self, entry: Entry) -> None:
        words = [f"{line.mark}{line.text}" for line in entry_lines(entry, self._owners) if line.text]
        self.rescue.push_screen(Notice("One file", f"/{shown(entry.path)}\n\n" + "\n".join(words[1:]), bad=False))

    def _go_to(self, entry: Entry) -> None:
        """Where something is that was found or marked: into a folder, or to a file in its folder."""
        browser = self._browser
        if browser is None:
            return
        inside = entry.kind is Kind.FOLDER and not entry.problem
        path = entry.path if inside else entry.path.rpartition("/")[0]
        at = "" if inside else entry.path
        self.in_thread(lambda: browser.folder(path), lambda folder: self._go(folder, at))

    @on(FileList.Up)
    def action_up(self) -> None:
        """The folder above; from a search or the marks, back to the folder."""
        browser, folder = self._browser, self._folder
        if browser is None or folder is None:
            return
        if self._mode != "folder":
            self._back_to_folder()
        elif folder.path:
            above = folder.path.rpartition("/")[0]
            self.in_thread(lambda: browser.folder(above), lambda entry: self._go(entry, folder.path))

    def _back_to_folder(self) -> None:
        self._end_search()
        if self._folder is not None:
            self._show_folder(self._folder, self._listing, "")
        self._list.focus()

    # Details and marks

    @property
    def _owners(self) -> bool:
        return bool(self._opened and self._opened.browser.owners)

    @on(FileList.Highlighted)
    def _highlighted(self, event: FileList.Highlighted) -> None:
        entry = event.entry
        self._draw_details(entry, "")
        browser = self._browser
        if entry is not None and browser is not None and entry.kind is Kind.LINK and not entry.problem:

            def told(target: str) -> None:
                if self._list.highlighted == entry:
                    self._draw_details(entry, target)

            self.in_thread(lambda: browser.link_target(entry), told)

    def _draw_details(self, entry: Entry | None, target: str) -> None:
        lines = entry_lines(entry, self._owners, target) if entry else []
        self.query_one("#about", Lines).show([*lines, BLANK, *marked_lines(self._marked.values())])

    @on(FileList.Marked)
    def _mark(self, event: FileList.Marked) -> None:
        entry = event.entry
        if entry.path in self._marked:
            del self._marked[entry.path]
        elif entry.problem or entry.kind is Kind.UNKNOWN:
            self._say(f"✗ {shown(entry.name)} cannot be read, so it cannot be copied.", WARN)
            return
        else:
            self._marked[entry.path] = entry
        if self._mode == "marked":
            self._show_marked()
        self._list.refresh()
        self._draw_details(self._list.highlighted, "")

    def action_mark(self) -> None:
        """As Space."""
        self._list.action_mark()

    def action_marked(self) -> None:
        """Show what is marked; once more, the folder."""
        if self._mode == "marked":
            self._back_to_folder()
            return
        self._end_search()
        self._mode = "marked"
        self._list.focus()
        self._show_marked()

    def _show_marked(self) -> None:
        self._say("" if self._marked else "Nothing is marked. M or Backspace goes back to the folder.")
        self._draw_where()
        self._list.show(tuple(self._marked.values()), self._marked, full=True)

    # Search

    def action_search(self) -> None:
        """Type words."""
        if self._browser is None:
            return
        field = self.query_one("#words", Input)
        field.display = True
        field.focus()

    @on(Input.Changed, "#words")
    def _typed(self, event: Input.Changed) -> None:
        self._token.cancel()
        browser, words = self._browser, event.value
        if browser is None or not words.strip() or not self.query_one("#words").display:
            return
        token = self._token = CancelToken()
        self._mode, self._found = "found", 0
        self._draw_where()
        self._list.show((), self._marked, full=True)
        self._say("Searching …")

        def found(entries: Sequence[Entry]) -> None:
            self.call_later(self._add_found, token, entries)

        def ended(complete: bool) -> None:
            self.call_later(self._search_ended, token, complete)

        self.in_thread(lambda: browser.search(words, _FOUND_LIMIT, token, found), ended)

    def _add_found(self, token: CancelToken, entries: Sequence[Entry]) -> None:
        if token is self._token and not token.cancelled:
            self._found += len(entries)
            self._list.add(entries)
            self._say(f"Searching … {self._found} found")

    def _search_ended(self, token: CancelToken, complete: bool) -> None:
        if token is not self._token or token.cancelled:
            return
        if not complete:
            self._say(f"The first {self._found} are shown. Type more of the name to find fewer.", WARN)
        else:
            self._say(f"{self._found} found." if self._found else "No name holds these words.")

    def _end_search(self) -> None:
        self._token.cancel()
        field = self.query_one("#words", Input)
        if field.display:
            field.display = False
            field.value = ""
            self._list.focus()

    @on(Input.Submitted, "#words")
    def _to_found(self) -> None:
        self._list.focus()

    # Going

    def action_back(self) -> None:
        """Out of a search or the marks; else out of the files, which is asked when marks would be lost."""
        if self._mode != "folder" or self.query_one("#words").display:
            self._back_to_folder()
            return
        if not self._marked:
            super().action_back()
            return

        def answered(answer: str | None) -> None:
            if answer == "leave":
                self.rescue.pop_screen()

        question = [("stay", "Stay here"), ("leave", "Leave, and forget what is marked")]
        self.rescue.push_screen(Question("Leave these files?", f"{marked_words(self._marked.values())}.", question), answered)

    def action_copy(self) -> None:
        """Copy out what is marked, else what is under the highlight."""
        entry = self._list.highlighted
        wanted = tuple(self._marked.values()) or ((entry,) if entry and not entry.problem else ())
        if not wanted:
            self._say("Nothing is marked: Space marks a file or a folder.", WARN)
            return
        self.rescue.push_screen(FilesTargetScreen(replace(self._flow, files=wanted)))
