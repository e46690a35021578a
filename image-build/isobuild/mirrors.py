"""Where Debian packages come from: the mirrors of this machine's apt configuration, or what the environment names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

OFFICIAL = "http://deb.debian.org/debian"
OFFICIAL_SECURITY = "http://deb.debian.org/debian-security"


@dataclass(frozen=True, slots=True)
class AptSource:
    """One source of packages: its URI, suite and components."""

    uri: str
    suite: str
    components: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Mirrors:
    """The URIs of the main and of the security archive, without a slash at the end."""

    main: str
    security: str


def parse_one_line(text: str) -> list[AptSource]:
    """Parse the one-line format of sources.list(5); lines for source packages are left out."""
    sources = []
    for line in text.splitlines():
        words = line.split("#", 1)[0].split()
        if not words or words[0] != "deb":
            continue
        words = words[1:]
        if words and words[0].startswith("["):
            end = next((i for i, word in enumerate(words) if word.endswith("]")), len(words) - 1)
            words = words[end + 1 :]
        if len(words) >= 2:
            sources.append(AptSource(words[0], words[1], tuple(words[2:])))
    return sources


def parse_deb822(text: str) -> list[AptSource]:
    """Parse the deb822 format of sources.list(5); disabled stanzas and source packages are left out."""
    sources = []
    for stanza in _stanzas(text):
        if stanza.get("enabled", "yes").lower() in {"no", "false", "0"} or "deb" not in stanza.get("types", "").split():
            continue
        for uri in stanza.get("uris", "").split():
            for suite in stanza.get("suites", "").split():
                sources.append(AptSource(uri, suite, tuple(stanza.get("components", "").split())))
    return sources


def _stanzas(text: str) -> Iterable[dict[str, str]]:
    stanza: dict[str, str] = {}
    key = ""
    for line in [*text.splitlines(), ""]:
        if line.startswith("#"):
            continue
        if not line.strip():
            if stanza:
                yield stanza
            stanza, key = {}, ""
        elif line[0] in " \t" and key:
            stanza[key] += " " + line.strip()
        elif ":" in line:
            key, value = line.split(":", 1)
            key = key.strip().lower()
            stanza[key] = value.strip()


def choose(sources: Iterable[AptSource], environment: Mapping[str, str], *, host_is_debian: bool) -> Mirrors:
    """Choose the mirrors: what RESCUE_MIRROR and RESCUE_SECURITY_MIRROR say, else those of a Debian host, else the official ones.

    Only http and https URIs are taken from the host: a CD-ROM or a folder is not there inside the build.
    """
    main, security = environment.get("RESCUE_MIRROR"), environment.get("RESCUE_SECURITY_MIRROR")
    if host_is_debian:
        usable = [s for s in sources if "main" in s.components and urlsplit(s.uri).scheme in {"http", "https"}]
        archives = [s.uri for s in usable if urlsplit(s.uri).path.rstrip("/").endswith("/debian")]
        fixes = [s.uri for s in usable if s.suite.endswith("-security")]
        main = main or next(iter(archives), None)
        security = security or next(iter(fixes), None)
    return Mirrors((main or OFFICIAL).rstrip("/"), (security or OFFICIAL_SECURITY).rstrip("/"))


def of_this_machine(environment: Mapping[str, str], root: Path = Path("/")) -> Mirrors:
    """Read the apt configuration and /etc/os-release under `root` and choose."""
    sources: list[AptSource] = []
    folder = root / "etc/apt"
    for path in [folder / "sources.list", *sorted(folder.glob("sources.list.d/*"))]:
        if path.is_file() and path.suffix == ".list":
            sources += parse_one_line(path.read_text())
        elif path.is_file() and path.suffix == ".sources":
            sources += parse_deb822(path.read_text())
    release = (root / "etc/os-release").read_text() if (root / "etc/os-release").exists() else ""
    return choose(sources, environment, host_is_debian="ID=debian" in release.splitlines())
