"""What all tests share: servers, stores, and the examples that Hypothesis tries."""

from hypothesis import HealthCheck, settings

pytest_plugins = ("tests.servers.postgres", "tests.servers.rabbitmq", "tests.contracts.stores")

# The same examples in every run: chance finds nothing on the day of a release, and a slow machine is no fault.
# ``--hypothesis-profile=exploring`` tries others each time.
COMMON = {"deadline": None, "suppress_health_check": list(HealthCheck), "database": None}
settings.register_profile("repeatable", derandomize=True, **COMMON)
settings.register_profile("exploring", derandomize=False, **COMMON)
settings.load_profile("repeatable")
