"""What `linking` announces; `shifts` listens. `linking` itself never imports `shifts`."""

from django.dispatch import Signal

# Sent inside the transaction that makes, ends or changes a link, with `link` (a DriverLink).
link_changed = Signal()
