"""Checks of the live workers, by what each says of itself."""
