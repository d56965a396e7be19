"""How many webhooks one api delivers at once, so that no receiver holds up those of others."""

from typing import Final

AT_ONCE: Final = 128

AT_ONCE_OF_TENANT: Final = 16
"""So eight tenants whose receivers hang leave the others none."""

AT_ONCE_OF_HOST: Final = 8
"""To one host and port: one that hangs leaves half of its tenant's room to his other receivers."""
