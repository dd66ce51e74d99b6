"""The ops desk: pages of the admin that answer questions and mend records (docs/ops.md).

Each module has a kind of page, with its `urlpatterns`. They read the tables directly and change
nothing themselves: what mends is one call into shifts/mend.py, shifts/bulk.py or linking/.
"""
