"""What the screens are made of. Widgets know no machine."""
