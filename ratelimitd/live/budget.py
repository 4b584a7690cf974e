"""The memory of the model, counted where it is taken."""


class Budget:
    """Bytes that may be taken, and those that are."""

    __slots__ = ("most", "used")

    def __init__(self, most: int) -> None:
        self.most = most
        self.used = 0

    def take(self, size: int) -> bool:
        """Take memory, if it is there."""
        if self.used + size > self.most:
            return False
        self.used += size
        return True

    def free(self, size: int) -> None:
        """Give memory back."""
        self.used -= size
