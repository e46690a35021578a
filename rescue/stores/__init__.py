"""Places for named immutable objects. They know nothing of images."""
