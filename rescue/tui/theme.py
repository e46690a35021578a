"""A theme made of the sixteen colours that every console has, and the styles that the screens use in text.

Backgrounds are of the first eight colours only: the Linux console has no bright ones. Bold is for bright text only, because it
shows bold black as dark grey; dark grey (bright black) is never used for text: on black its contrast is below 3:1.
"""

from __future__ import annotations

from typing import Final

from textual.theme import Theme

THEME: Final = Theme(
    name="rescue",
    ansi=True,
    dark=True,
    primary="ansi_cyan",
    secondary="ansi_blue",
    warning="ansi_bright_yellow",
    error="ansi_bright_red",
    success="ansi_bright_green",
    accent="ansi_cyan",
    foreground="ansi_white",
    background="ansi_black",
    surface="ansi_black",
    panel="ansi_black",
    boost="ansi_black",
    variables={
        "ansi-background": "ansi_black",
        "ansi-foreground": "ansi_white",
        "border": "ansi_cyan",
        "border-blurred": "ansi_white",
        "block-cursor-foreground": "ansi_bright_white",
        "block-cursor-background": "ansi_blue",
        "block-cursor-blurred-foreground": "ansi_white",
        "block-cursor-blurred-background": "ansi_black",
        "input-cursor-background": "ansi_white",
        "input-cursor-foreground": "ansi_black",
        "scrollbar": "ansi_cyan",
        "scrollbar-hover": "ansi_cyan",
        "scrollbar-active": "ansi_cyan",
        "scrollbar-background": "ansi_black",
        "scrollbar-background-hover": "ansi_black",
        "scrollbar-background-active": "ansi_black",
        "scrollbar-corner-color": "ansi_black",
    },
)

STRONG: Final = "bold ansi_bright_white"
PLAIN: Final = "ansi_bright_white"
QUIET: Final = "ansi_white"
GOOD: Final = "ansi_bright_green"
WARN: Final = "ansi_bright_yellow"
BAD: Final = "bold ansi_bright_red"
