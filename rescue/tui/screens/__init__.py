"""One file per screen. A screen pushes the next one; Esc goes back."""
