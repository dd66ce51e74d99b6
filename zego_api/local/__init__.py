"""The service on one machine, with nothing installed: `make run`, and the servers of the tests."""
